"""Time and memory by formula, against what was measured for Stable Diffusion 1.4 in float32."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.planning.estimate import estimate

GB = 10**9
MIB = 2**20


def make(preset: str = "default", **overrides: object) -> RunConfig:
    on_hub = {
        "classifier": "hf:microsoft/resnet-50",
        "class_name": "0",
        "generator": "compvis/stable-diffusion-v1-4",
        "masked_lm": "bert-base-uncased",
    }
    return RunConfig.from_preset(preset, **{**on_hub, **overrides})


@pytest.mark.parametrize(
    ("image_size", "checkpointing", "measured_mib"),
    [
        (128, "none", 5730),
        (256, "none", 7485),
        (256, "unet", 6250),
        (256, "all", 6173),
        (512, "unet", 9751),
    ],
)
def test_peak_agrees_with_measurements(image_size, checkpointing, measured_mib):
    config = make(image_size=image_size, batch=1, gradient_checkpointing=checkpointing)
    assert estimate(config, device="cpu").peak_bytes / MIB == pytest.approx(measured_mib, rel=0.1)


@pytest.mark.parametrize("image_size", [128, 256])
def test_time_agrees_with_measurements_within_a_factor_of_two(image_size):
    measured = {128: 10.5, 256: 21.0}[image_size]
    config = make(image_size=image_size, batch=1)
    assert 0.5 < estimate(config, device="cpu").seconds_per_step / measured < 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("preset", ["default", "quick", "paper"])
def test_presets_fit_stable_diffusion_into_12_gb(preset, dtype):
    config = make(preset, dtype=dtype)
    assert estimate(config, device="cuda").peak_bytes < 12 * GB


def test_more_memory_is_used_for_speed():
    small, large = (estimate(make(), device="cuda", budget=gb * GB) for gb in (12, 80))
    assert (small.gradient_checkpointing, large.gradient_checkpointing) == ("unet", "none")
    assert small.micro_batch < large.micro_batch
    assert small.seconds_per_step > large.seconds_per_step


def test_what_the_user_chose_stays():
    chosen = estimate(make(micro_batch=3, gradient_checkpointing="none"), device="cuda")
    assert (chosen.micro_batch, chosen.picture_batch) == (3, 3)
    assert chosen.gradient_checkpointing == "none"


def test_less_work_takes_less_time_and_memory():
    def cost(**overrides: Any) -> tuple[float, int]:
        plain: dict[str, Any] = {"gradient_checkpointing": "none", "micro_batch": 1, "batch": 16}
        result = estimate(make(**{**plain, **overrides}), device="cuda")
        return result.seconds_per_step, result.peak_bytes

    seconds, peak = cost()
    for cheaper in ({"backprop_steps": 1}, {"straight_through": 0}, {"image_size": 256}):
        assert cost(**cheaper) < (seconds, peak)
        assert cost(**cheaper)[1] < peak
    assert cost(n_grad=1)[0] < seconds
    assert cost(guidance=7.5)[0] > seconds


def test_measurements_replace_the_formulas():
    result = estimate(make(steps=10), device="cuda", measured_peak=5 * GB, measured_seconds=2.0)
    assert result.peak_bytes == 5 * GB
    assert result.seconds_per_step == 2.0
    assert result.total_seconds > 20


def test_shapes_are_read_from_a_folder():
    config = make(generator=str(tiny.generator_folder()), masked_lm=str(tiny.masked_lm_folder()))
    result = estimate(config, device="cpu")
    assert result.peak_bytes < 2 * GB
    assert (result.micro_batch, result.picture_batch) == (8, 16)


def test_both_text_encoders_of_xl_are_counted(tmp_path):
    folder = shutil.copytree(tiny.xl_generator_folder(), tmp_path / "xl")
    two = estimate(make(generator=str(folder)), device="cpu").peak_bytes
    file = folder / "text_encoder_2" / "config.json"
    wide = {**json.loads(file.read_text()), "hidden_size": 1280, "num_hidden_layers": 32,
            "intermediate_size": 5120, "vocab_size": 49408}  # fmt: skip
    file.write_text(json.dumps(wide))
    weights = 4 * 695e6  # of SDXL's second one
    assert estimate(make(generator=str(folder)), device="cpu").peak_bytes - two > 0.9 * weights


def test_shapes_of_a_hub_id_are_read_from_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    config = make(generator="some/pipeline", masked_lm=str(tiny.masked_lm_folder()))
    assert estimate(config, device="cpu").peak_bytes > 2 * GB  # as of Stable Diffusion 1.x
    place = tmp_path / "models--some--pipeline"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    shutil.copytree(tiny.generator_folder(), place / "snapshots" / "abc")
    there = config.model_copy(update={"generator": str(tiny.generator_folder())})
    assert estimate(config, device="cpu") == estimate(there, device="cpu")


def test_a_folder_without_models_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"generator: cannot read .*config\.json") as refused:
        estimate(make(generator=str(tmp_path)))
    assert (refused.value.field, refused.value.value) == ("generator", str(tmp_path))


def test_no_torch_is_loaded():
    code = (
        "import sys; from dexter.planning.estimate import estimate\n"
        "from dexter.config import RunConfig\n"
        "c = RunConfig(classifier='x', class_name='0', generator='a/b', masked_lm='c/d')\n"
        "estimate(c); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
