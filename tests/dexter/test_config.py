"""RunConfig: presets, the groups of its fields, refusals, and its record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from dexter.classifiers import ClassifierOptions
from dexter.config import PRESETS, Group, RunConfig, fields_of, group_of
from dexter.errors import InputError, MissingInput
from dexter.generation.options import GeneratorOptions
from dexter.models import model_settings

STORED_RUN = Path(__file__).parents[1] / "data" / "stored_run.json"


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


def test_an_eighth_of_the_batch_is_backpropagated_by_default() -> None:
    assert make(batch=8).grad_prompts == 1
    assert make(batch=16).grad_prompts == 2
    assert make(batch=8, n_grad=3).grad_prompts == 3
    assert make(batch=8, score_function=0).grad_prompts == 4
    assert make(batch=8, score_function=0, explore=0).grad_prompts == 8
    assert make("quick", straight_through=0).grad_prompts == 0
    assert make("paper").grad_prompts == 1


def test_every_field_is_described_and_in_one_group() -> None:
    assert all(field.description for field in RunConfig.model_fields.values())
    in_groups = [name for group in get_args(Group) for name in fields_of(group)]
    assert sorted(in_groups) == sorted(RunConfig.model_fields)
    assert all(group_of(name) in get_args(Group) for name in RunConfig.model_fields)


def test_fields_are_listed_by_group_and_mark_in_order() -> None:
    assert fields_of() == tuple(RunConfig.model_fields)
    assert fields_of("class", "run") == ("preset", "seed", "word_effects", "class_name")
    assert fields_of("machine", picture=True) == ("dtype",)
    assert fields_of(model=True) == ("masked_lm", "generator", "lora", "decoder")


def test_loaders_read_every_field_of_their_group() -> None:
    """A field that a group gains, but a loader does not read, is found here."""
    machine = {"device", "dtype", "root"}
    classifier = {field.name for field in dataclasses.fields(ClassifierOptions)}
    assert classifier == {*fields_of("classifier"), *machine} - {"classifier"}
    generator = {field.name for field in dataclasses.fields(GeneratorOptions)}
    assert generator == {*fields_of("generator", "machine"), *machine} - {"generator"}


def test_options_take_the_values_of_the_config_and_of_the_caller() -> None:
    config = make(generator="sd14-lcm", decoder="tiny", device="auto", arch="resnet18")
    options = config.options(GeneratorOptions, device="cuda:1")
    assert (options.scheduler, options.decoder, options.device) == ("LCM", "tiny", "cuda:1")
    assert config.options(ClassifierOptions).arch == "resnet18"


@pytest.mark.parametrize(
    "change", [{"decoder": "tiny"}, {"safety_checker": False}, {"compile": True}, {"lora": "a/b"}]
)
def test_runs_with_different_models_do_not_share_them(change: dict[str, Any]) -> None:
    assert model_settings(make(**change)) != model_settings(make())
    assert model_settings(make(steps=7, seed=3)) == model_settings(make())


def test_a_stored_run_keeps_its_study() -> None:
    """The record and its digest were written before fields had groups."""
    stored = json.loads(STORED_RUN.read_text())
    config = RunConfig.model_validate(stored["config"])
    text = json.dumps(config.study_settings(), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == stored["study"]
    assert config.study_settings() == stored["study_settings"]
    assert config.model_dump(mode="json") == stored["config"]


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
        ({"template": "a picture of [MASK]s"}, "template: .* not a separate word"),
        ({"suffix": "with [MASK]"}, "suffix"),
        ({"words": ()}, "words"),
        ({"features": "1,x"}, "features"),
        ({"straight_through": 0, "score_function": 0}, "straight_through: .* no gradient"),
        ({"n_grad": 9}, "n_grad: 9 is more than batch, 8"),
        ({"n_grad": 5}, "n_grad: 5, but explore 0.5 leaves only 4 of 8"),
        ({"n_grad": 0}, "n_grad: 0 contradicts straight_through"),
        ({"n_grad": 2, "straight_through": 0}, "n_grad: 2 contradicts straight_through"),
        ({"micro_batch": 9}, "micro_batch"),
        ({"backprop_steps": 3}, "backprop_steps: 3 is more than diffusion_steps, 2"),
        ({"features": (1, 2), "n_features": 3}, "n_features"),
        ({"class_weight": 0}, "class_weight: 0 without"),
        ({"pseudo_target": "none"}, "pseudo_target"),
        ({"words": ("Sea", "lake"), "exclude_words": ("sea",)}, "exclude_words: sea"),
        ({"frames": 50, "frame_tries": 49}, "frame_tries"),
        ({"normalization": "none", "mean": (0.5,)}, "normalization: none excludes mean"),
    ],
)
def test_bad_values_are_refused_by_name_in_one_line(overrides: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as refusal:
        make(**overrides)
    assert "\n" not in str(refusal.value)


def test_missing_fields_and_unknown_presets_are_refused() -> None:
    with pytest.raises(MissingInput, match=r"^class_name is required$") as refused:
        RunConfig.from_preset("default", classifier="lab:birds")
    flag = {"class_name": "--class"}.__getitem__
    assert refused.value.sentence(flag) == "class_name is required: pass --class"
    with pytest.raises(InputError, match="preset: 'fast' is unknown; choose from quick, default"):
        make("fast")


@pytest.mark.parametrize(
    ("overrides", "field", "value", "problem", "remedy"),
    [
        ({"learning_rate": 20}, "learning_rate", 20, "20 is out of range: must be at most 10", ""),
        ({"learning_rate": "0"}, "learning_rate", "0", "0 is out of range: must be above 0", ""),
        ({"seed": 1000}, "seed", 1000, "1000 is out of range: must be below 1000", ""),
        ({"steps": "many"}, "steps", "many", "'many' is not a whole number", ""),
        ({"temperature": "hot"}, "temperature", "hot", "'hot' is not a number", ""),
        ({"compile": "maybe"}, "compile", "maybe", "'maybe' is not yes or no", ""),
        ({"suffix": 3}, "suffix", 3, "3 is not a text", ""),
        ({"class_name": ""}, "class_name", "", "must not be empty", ""),
        ({"features": "1,x"}, "features", "x", "'x' is not a whole number", ""),
        ({"stop": "soon"}, "stop", "soon", "'soon' is unknown", "choose 'stable', 'hits'"),
        ({"device": "gpu"}, "device", "gpu", "'gpu' is unknown", "choose auto, cpu"),
        ({"suffix": "[MASK]"}, "suffix", "[MASK]", "'[MASK]' has a [MASK]", "put masks into"),
        ({"n_grad": 0}, "n_grad", 0, "0 contradicts straight_through 0.2", "set both to 0"),
        ({"frame_tries": 1}, "frame_tries", 1, "1 is less than frames, 50", ""),
        ({"class_weight": 0}, "class_weight", 0, "0 without a weighted feature", "raise it"),
        ({"stepz": 5}, "stepz", None, "unknown setting", "did you mean 'steps'?"),
        ({"class_to_activate": 1}, "class_to_activate", None, "unknown setting", ""),
    ],
)
def test_a_refusal_has_its_parts(
    overrides: dict[str, Any], field: str, value: object, problem: str, remedy: str
) -> None:
    with pytest.raises(InputError) as refused:
        make(**overrides)
    error = refused.value
    assert (error.field, error.value) == (field, value)
    assert error.problem.startswith(problem)
    assert (error.remedy or "").startswith(remedy)
    assert error.sentence(str.upper).startswith(f"{field.upper()}: {error.problem}")


def test_the_constructor_raises_pydantics_error() -> None:
    with pytest.raises(ValidationError, match="n_grad"):
        RunConfig(classifier="lab:birds", class_name="waterbird", n_grad=9)


def test_configuration_loads_no_torch() -> None:
    code = "import sys, dexter, dexter.config, dexter.errors; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "known", [(1.0, 0.0), (1.0, -1.0), (float("nan"), 1.0), (1.0, float("inf"))]
)
def test_effects_of_words_are_numbers_with_errors_above_0(known: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="word_effects"):
        make(word_effects={"sea": known})
