"""The settings of a short run with tiny models, and settings as flags."""

from collections.abc import Mapping
from typing import Any

import tiny


def settings() -> dict[str, Any]:
    """Return all but the number of steps and the class."""
    return {
        "classifier": f"hf:{tiny.classifier_folder()}",
        "generator": str(tiny.generator_folder()),
        "masked_lm": str(tiny.masked_lm_folder()),
        "device": "cpu",
        "stop": "none",
        "batch": 2,
        "diffusion_steps": 1,
        "frames": 2,
        "frame_tries": 4,
        "score_images": 4,
        "preview_every": 20,
    }


def flags(values: Mapping[str, object]) -> list[str]:
    """Return the command line's flags for values by name."""
    return [
        text
        for name, value in values.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
