"""The origin of pictures: the generator and preset that every header states."""

TOY = "lab"  # the lab's generator: 64 pixels, flat art
_LAB_CLASSIFIER = "lab:"


def is_of_lab(classifier: str) -> bool:
    """Return whether a classifier is the lab's; any other needs a named generator."""
    return classifier.startswith(_LAB_CLASSIFIER)


def is_toy(classifier: str, generator: str) -> bool:
    """Return whether the lab's toy drew the pictures for a classifier that is not the lab's."""
    return generator == TOY and not is_of_lab(classifier)


def generator_name(classifier: str, generator: str) -> str:
    """Return the name of a generator as a reader of results for this classifier needs it."""
    return "the lab's 64-pixel toy generator" if is_toy(classifier, generator) else generator


def origin(classifier: str, generator: object, preset: object = None) -> str:
    """Return a line on the generator and, if given, the preset."""
    drawn_by = str(generator or "unknown")
    line = f"pictures by {generator_name(classifier, drawn_by)}"
    if is_toy(classifier, drawn_by):
        line += ", not like photographs"
    return line if preset is None else f"{line}; preset {preset}"
