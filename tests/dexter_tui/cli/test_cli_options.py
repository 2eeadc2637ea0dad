"""The command line's options are RunConfig's fields; only what a user gives counts."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from dexter.config import PRESETS, RunConfig, fields_of
from dexter.errors import InputError
from dexter_tui import field_flags, paths

FILLED_IN = {"word_effects"}  # from the screening that a run names


def configure(preset: str | None = None, **values: object) -> RunConfig:
    [config] = field_flags.configs(
        preset, [0], {"classifier": "lab:x", "class_name": "y", **values}
    )
    return config


def test_every_field_is_a_flag_with_its_description(cli: Any) -> None:
    shown = " ".join(cli("run", "--help").out.split())
    for name, field in RunConfig.model_fields.items():
        flagged = f" {field_flags.flag(name)} " in f"{shown} "
        assert flagged != (name in FILLED_IN), name
        if name in field_flags.RUN_FLAGS:
            words = (field.description or "").split()
            assert " ".join(words[:3]) in shown, name


def test_a_probe_takes_every_option_that_changes_a_model(cli: Any) -> None:
    shown = " ".join(cli("probe", "--help").out.split())
    for name in fields_of("classifier", "class", "masked LM", "generator", "machine"):
        assert f" {field_flags.flag(name)} " in shown, name
    assert all(f" --{name} " in shown for name in ("decoder", "safety-checker", "compile"))
    assert " --steps " not in shown


def test_ranges_are_checked_and_shown(cli: Any) -> None:
    shown = " ".join(cli("run", "--help").out.split())
    assert "[1 to 100000; default: 150]" in shown
    assert "[above 0, at most 10; default: 0.1]" in shown
    assert "[default: by the memory estimate]" in shown
    refused = cli("run", "--classifier", "lab:x", "--class", "y", "--steps", "0")
    assert (refused.code, refused.out) == (2, "")
    assert "--steps" in refused.err


@pytest.mark.parametrize("preset", PRESETS)
def test_only_what_is_given_overrides_a_preset(preset: str, home: Path) -> None:
    expected = RunConfig.from_preset(preset, classifier="lab:x", class_name="y", batch=3, seed=0)
    assert configure(preset, batch=3, steps=None, learning_rate=None) == expected


@pytest.mark.usefixtures("home")
def test_lists_come_from_the_line_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("sea\nlake\n")
    assert configure(words="sea, lake").words == ("sea", "lake")
    assert configure(words=f"@{tmp_path / 'words.txt'}").words == ("sea", "lake")
    assert configure(features="3,1").features == (3, 1)
    with pytest.raises(InputError, match="cannot read nowhere") as refused:
        configure(exclude_words="@nowhere")
    assert refused.value.field == "exclude_words"


def test_users_settings_come_between_preset_and_flags(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text('[run]\npreset = "quick"\nsteps = 7\nbatch = 3\n')
    config = configure(batch=5)
    assert (config.preset, config.steps, config.batch) == ("quick", 7, 5)
    assert config.frames == PRESETS["quick"]["frames"]
    assert configure("paper").preset == "paper"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[run]\nstepps = 7", "stepps.*did you mean 'steps'"),
        ("[run\n", "config.toml: cannot be read"),
        ("run = 1", "write \\[run\\]"),
        ("[run]\nsteps = 'many'", "steps"),
    ],
)
def test_wrong_settings_are_named(home: Path, text: str, complaint: str) -> None:
    home.mkdir()
    (home / "config.toml").write_text(text)
    with pytest.raises(InputError, match=complaint):
        configure()


def test_the_template_of_settings_is_toml_that_sets_nothing_and_holds_all(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text(field_flags.template())
    assert paths.settings() == {}
    wanted = set(RunConfig.model_fields) - {"seed"} - FILLED_IN
    uncommented = [
        line.removeprefix("# ")
        for line in field_flags.template().splitlines()
        if line.removeprefix("# ").split(" = ")[0] in wanted
    ]
    assert set(tomllib.loads("\n".join(uncommented))) == wanted


def test_config_init_keeps_what_is_there(cli: Any, home: Path) -> None:
    first = cli("config", "init", "--json").json
    assert first["kept"] == []
    names = {Path(path).name for path in first["written"]}
    assert names == {"config.toml", "captions_sp.txt", "judge_sp.txt", "report_sp.txt"}
    mine = home / "sp_config" / "report_sp.txt"
    mine.write_text("mine")
    assert paths.system_prompt("report_sp.txt").read_text() == "mine"
    assert cli("config", "init", "--json").json["written"] == []
    assert mine.read_text() == "mine"
    assert cli("config", "init", "--force").code == 0
    assert mine.read_text() != "mine"


def test_prompts_are_packaged(home: Path) -> None:
    packaged = paths.system_prompt("captions_sp.txt")
    assert not packaged.is_relative_to(home)
    assert "one sentence" in packaged.read_text()
    with pytest.raises(InputError, match="nowhere"):
        paths.system_prompt("nowhere.txt")
