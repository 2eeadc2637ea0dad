"""The reference code's activation score, with its arguments and return values."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dexter.classifiers import Classifier
from dexter.device import select_device
from dexter.errors import InputError
from dexter.generation.generator import Generator, load_generator, to_uint8
from dexter.generation.options import GeneratorOptions
from dexter.generator_presets import GENERATORS
from dexter.search.score import draw_pictures
from dexter.seeds import picture_seeds


def activation_score(
    classifier: Classifier,
    prompt: str,
    *,
    class_to_activate: int,
    n_images: int = 100,
    diff_steps: int = 4,
    batch_size: int = 1,
    device: str | None = None,
    seed: int | None = None,
    transforms: None = None,
    feature_indices: Sequence[int] | None = None,
    pipe: Generator | None = None,
) -> tuple[float, Image.Image, float]:
    """Return the share of pictures classified as the class, the last one, and the mean activation.

    The mean activation is over ``feature_indices`` or, without them, over the 5 units with the
    largest weight to the class (the reference returns a loss under this name). ``pipe`` is a
    generator from `load_generator`, by default Stable Diffusion 1.4 with LCM. ``seed`` has no
    effect: every prompt and classifier is scored on the same noise. Raises InputError if
    ``n_images`` is below 1.
    """
    if pipe is None:
        settings = GENERATORS["sd14-lcm"].settings() | {"diffusion_steps": diff_steps}
        spec = settings.pop("generator")
        options = GeneratorOptions(device=select_device(device or "auto"), **settings)
        pipe = load_generator(spec, options)
    weight = classifier.class_weight(class_to_activate)
    if feature_indices is None:
        best = [] if weight is None else weight.topk(min(5, len(weight))).indices.tolist()
        feature_indices = best
    hits, activations = 0, []
    last: Image.Image | None = None
    for images, _ in draw_pictures(pipe, prompt, picture_seeds("score", 0, n_images), batch_size):
        output = classifier(images)
        hits += int(output.hits(class_to_activate).sum())
        if feature_indices:
            activations += output.features[:, list(feature_indices)].mean(1).tolist()
        last = Image.fromarray(to_uint8(images[-1:])[0])
    if last is None:
        raise InputError("must be at least 1", field="n_images", value=n_images)
    return hits / n_images, last, float(np.mean(activations)) if activations else 0.0
