"""The options that a generator is loaded with; no torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GeneratorOptions:
    """The options of `load_generator`; `RunConfig.options` fills those that are fields of a run.

    lora: a safetensors file, a folder with one, or a hub id; fused into the weights. decoder: a
    folder or hub id of a small decoder (AutoencoderTiny) for the search. safety_checker: load the
    pipeline's, where it has one. scheduler: a name of `SCHEDULERS`; the pipeline's own by default.
    diffusion_steps: by default, those of the named generator, or 4. guidance: as in diffusers; no
    guidance at 1 or less. image_size: side in px; the pipeline's own by default. padding: of words
    in `Generator.encode`, "tokens" or "repeat". compile: UNet and decoders, on first use.
    root: folder of the lab's models.
    """

    lora: str | None = None
    decoder: str | None = None
    safety_checker: bool = False
    scheduler: str | None = None
    diffusion_steps: int | None = None
    guidance: float = 1.0
    image_size: int | None = None
    padding: str = "tokens"
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    root: Path | str | None = None
