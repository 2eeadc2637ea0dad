"""Generators by name, with the settings that they were distilled for; no torch."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NamedGenerator:
    """A text-to-image pipeline with its settings."""

    generator: str
    """Hub id, or "lab"."""
    licence: str
    diffusion_steps: int
    lora: str | None = None
    scheduler: str | None = None
    guidance: float = 1.0
    image_size: int = 512

    def settings(self) -> dict[str, Any]:
        """Return the fields of RunConfig that it sets."""
        return {
            "generator": self.generator,
            "lora": self.lora,
            "scheduler": self.scheduler,
            "diffusion_steps": self.diffusion_steps,
            "guidance": self.guidance,
            "image_size": self.image_size,
        }


_LCM_LORA = "latent-consistency/lcm-lora-sdv1-5"

LAB = "lab"
GENERATORS: dict[str, NamedGenerator] = {
    # The embedded one: its first step draws the shapes, the second sharpens them.
    LAB: NamedGenerator(LAB, "CC BY-SA 4.0", diffusion_steps=2, image_size=64),
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


def steps_of(spec: str) -> int:
    """Return the default number of denoising steps of a generator."""
    return next((g.diffusion_steps for g in GENERATORS.values() if g.generator == spec), 4)


def expand(values: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a RunConfig with a generator's name replaced by its settings.

    Fields given beside the name stay as given. The field ``generator`` is only in the result if it
    was given, so that `RunConfig.names_generator` shows the difference.
    """
    named = GENERATORS.get(str(values.get("generator", LAB)))
    if named is None:
        return values
    expanded = {**named.settings(), **values}
    if "generator" in values:
        return {**expanded, "generator": named.generator}
    del expanded["generator"]
    return expanded
