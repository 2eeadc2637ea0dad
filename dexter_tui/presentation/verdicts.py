"""The words and styles of verdicts on claims and on differences between classifiers."""

VERDICT_STYLES = {"confirmed": "bold red", "refuted": "green", "inconclusive": "dim"}
DIFFERENCE_STYLES = {"differ": "bold red", "alike": "green", "open": "dim"}
DIFFERENCES = {
    "differ": "significantly different",
    "alike": "no relevant difference",
    "open": "inconclusive",
}
