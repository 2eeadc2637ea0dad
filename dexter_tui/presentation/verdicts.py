"""The words and styles of verdicts on claims and on differences between classifiers."""

# As in the dashboard: whether a claim holds, and not whether that is good.
VERDICT_STYLES = {"confirmed": "bold green", "refuted": "red", "inconclusive": "yellow"}
DIFFERENCE_STYLES = {"differ": "bold red", "alike": "green", "open": "dim"}
DIFFERENCES = {
    "differ": "significantly different",
    "alike": "no relevant difference",
    "open": "inconclusive",
}
