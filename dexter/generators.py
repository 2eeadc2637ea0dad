"""Generators ready by name, with the settings that they were distilled for; no torch."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NamedGenerator:
    """A text-to-image pipeline on the Hugging Face hub and how to run it."""

    generator: str
    """Hub id."""
    licence: str
    diffusion_steps: int
    lora: str | None = None
    scheduler: str | None = None
    guidance: float = 1.0
    image_size: int = 512

    def settings(self) -> dict[str, Any]:
        """Fields of RunConfig."""
        return {
            "generator": self.generator,
            "lora": self.lora,
            "scheduler": self.scheduler,
            "diffusion_steps": self.diffusion_steps,
            "guidance": self.guidance,
            "image_size": self.image_size,
        }


_LCM_LORA = "latent-consistency/lcm-lora-sdv1-5"

GENERATORS: dict[str, NamedGenerator] = {
    # The paper's.
    "sd14-lcm": NamedGenerator(
        "CompVis/stable-diffusion-v1-4",
        "CreativeML Open RAIL-M",
        diffusion_steps=4,
        lora=_LCM_LORA,
        scheduler="LCM",
    ),
    "sd15-lcm": NamedGenerator(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "CreativeML Open RAIL-M",
        diffusion_steps=4,
        lora=_LCM_LORA,
        scheduler="LCM",
    ),
    # Adversarial distillation (Sauer et al. 2023): one to four steps, no guidance.
    "sd-turbo": NamedGenerator(
        "stabilityai/sd-turbo", "Stability AI Community, see the model card", diffusion_steps=1
    ),
    "sdxl-turbo": NamedGenerator(
        "stabilityai/sdxl-turbo", "Stability AI Community, see the model card", diffusion_steps=1
    ),
}
"""By name; "lab", the embedded one, is not among them, for it lies in a folder."""


def expand(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a RunConfig with a generator's name replaced by what it stands for.

    What was given beside the name stays as given.
    """
    named = GENERATORS.get(str(values.get("generator")))
    if named is None:
        return values
    return {**named.settings(), **values, "generator": named.generator}
