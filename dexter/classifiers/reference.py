"""The reference's way to load a classifier, kept for its users."""

from typing import Any

from dexter.classifiers import Classifier, load_classifier
from dexter.device import select_device
from dexter.reference_options import classifier_settings


def build_classifier_and_transforms(
    classifier: str, device: str = "auto", use_tfms: bool = True, **options: Any
) -> tuple[Classifier, None]:
    """A classifier by the reference's name or by a spec of this code, and its transforms.

    The latter are None: classifiers scale and normalise by themselves, as the reference does.
    ``options``: of `load_classifier`, before those that the name stands for.
    """
    settings: dict[str, Any] = {**classifier_settings(classifier), "input": "reference"} | options
    spec = settings.pop("classifier")
    return load_classifier(spec, device=select_device(device), **settings), None
