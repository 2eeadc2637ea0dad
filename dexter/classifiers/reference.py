"""The reference code's function to load a classifier, kept for its users."""

from typing import Any

from dexter.classifiers import Classifier, ClassifierOptions, load_classifier
from dexter.device import select_device
from dexter.reference_options import classifier_settings


def build_classifier_and_transforms(
    classifier: str, device: str = "auto", use_tfms: bool = True, **options: Any
) -> tuple[Classifier, None]:
    """Load a classifier by the reference's name or a spec of this code; return it and None.

    There are no transforms: classifiers scale and normalise pictures themselves.
    ``options``: of `ClassifierOptions`, in place of those that the name stands for.
    """
    settings: dict[str, Any] = classifier_settings(classifier) | options
    spec = settings.pop("classifier")
    settings = {"classifier_input": "reference", "device": select_device(device)} | settings
    return load_classifier(spec, ClassifierOptions(**settings)), None
