"""RunConfig: presets, what is refused and how, and what is recorded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError


def make(preset: str = "default", **overrides: object) -> RunConfig:
    return RunConfig.from_preset(
        preset, **{"classifier": "lab:birds", "class_name": "waterbird", **overrides}
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_named_in_the_record(preset: str) -> None:
    config = make(preset)
    assert config.preset == preset
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_record_with_named_features_can_be_read_again() -> None:
    config = make(features=(3, 5))
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_paper_preset_has_the_papers_hyper_parameters() -> None:
    config = make("paper")
    assert (config.masks, config.soft_tokens, config.batch) == (6, 1, 1)
    assert (config.straight_through, config.score_function) == (1.0, 0.0)
    assert (config.stop, config.stop_hits, config.learning_rate) == ("hits", 50, 0.1)


@pytest.mark.parametrize(("given", "level"), [(True, "all"), (False, "none"), ("unet", "unet")])
def test_checkpointing_once_was_all_or_none(given, level):
    assert make(gradient_checkpointing=given).gradient_checkpointing == level


def test_lists_can_be_written_with_commas() -> None:
    config = make(words="sea, lake", features="3,5")
    assert config.words == ("sea", "lake")
    assert config.features == (3, 5)


def test_an_eighth_of_the_batch_is_backpropagated_unless_told_otherwise() -> None:
    assert make(batch=8).grad_prompts == 1
    assert make(batch=16).grad_prompts == 2
    assert make(batch=8, n_grad=3).grad_prompts == 3
    assert make(batch=8, score_function=0).grad_prompts == 4
    assert make(batch=8, score_function=0, explore=0).grad_prompts == 8
    assert make("quick", straight_through=0).grad_prompts == 0
    assert make("paper").grad_prompts == 1


def test_every_field_is_described() -> None:
    assert all(field.description for field in RunConfig.model_fields.values())


def test_study_settings_leave_out_seed_and_machine() -> None:
    settings = make(seed=1, device="cpu", dtype="float32").study_settings()
    assert settings == make(seed=2, device="cuda:1", dtype="bfloat16").study_settings()
    assert settings != make(steps=7).study_settings()
    assert settings["classifier"] == "lab:birds"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"stepz": 5}, "did you mean 'steps'"),
        ({"seed": 1000}, "seed"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"class_name": ""}, "class_name"),
        ({"class_loss": "hinge"}, "class_loss"),
        ({"device": "gpu"}, "device"),
        ({"template": "a picture of a bird"}, r"template: .* 0 \[MASK\]"),
        ({"template": "[MASK] " * 9}, r"template: .* 9 \[MASK\]"),
        ({"template": "a picture of [MASK]s"}, "template: .* word of its own"),
        ({"suffix": "with [MASK]"}, "suffix"),
        ({"words": ()}, "words"),
        ({"features": "1,x"}, "features"),
        ({"straight_through": 0, "score_function": 0}, "straight_through and score_function"),
        ({"n_grad": 9}, "n_grad: 9 is more than batch, 8"),
        ({"n_grad": 5}, "n_grad: 5, but explore 0.5 leaves only 4 of 8"),
        ({"n_grad": 0}, "n_grad: 0 contradicts straight_through"),
        ({"n_grad": 2, "straight_through": 0}, "n_grad: 2 contradicts straight_through"),
        ({"micro_batch": 9}, "micro_batch"),
        ({"backprop_steps": 3}, "backprop_steps: 3 is more than diffusion_steps, 2"),
        ({"features": (1, 2), "n_features": 3}, "n_features"),
        ({"class_weight": 0}, "class_weight is 0"),
        ({"pseudo_target": "none"}, "pseudo_target"),
        ({"words": ("Sea", "lake"), "exclude_words": ("sea",)}, "exclude_words: sea"),
        ({"frames": 50, "frame_tries": 49}, "frame_tries"),
    ],
)
def test_bad_values_are_refused_by_name_in_one_line(
    overrides: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError, match=named) as refusal:
        make(**overrides)
    assert "\n" not in str(refusal.value)


def test_missing_fields_and_unknown_presets_are_refused() -> None:
    with pytest.raises(InputError, match="class_name: is missing"):
        RunConfig.from_preset("default", classifier="lab:birds")
    with pytest.raises(InputError, match="preset: 'fast' is unknown; choose from quick, default"):
        make("fast")


def test_configuration_loads_no_torch() -> None:
    code = "import sys, dexter, dexter.config, dexter.errors; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
