"""The lab as one looks at it: its words, its classes, its commands and its documentation."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dexter import model_folders
from dexter.lab import shipped, world
from dexter.lab.classifiers import RECIPES
from dexter.lab.fleet import FLEET, TASKS, families

REPOSITORY = Path(__file__).parents[3]
LAB = model_folders.find("lab")

# --- what the classes of the lab's classifiers are ------------------------------------------------


LABEL_SETS = {task: TASKS[task].labels for task in TASKS} | {
    recipe.name: recipe.labels for recipe in RECIPES.values()
}


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_class_of_the_lab_s_classifiers_has_subjects_rivals_and_core_words(name: str) -> None:
    from dexter.reasoning.topic import load_world, make_topic, noun

    manifest = load_world(root=LAB.parent)
    labels = LABEL_SETS[name]
    sayable = set(world.CONTENT_WORDS)
    for index, label in enumerate(labels):
        topic = make_topic(labels, index, world=manifest)
        for part in (topic.subjects, topic.rivals):
            assert part
            assert {word for subject in part for word in subject.split()} <= sayable
        assert not set(topic.subjects) & set(topic.rivals)
        assert label == "other" or manifest.core[label]
        assert all(topic.is_core(noun(s)) or topic.is_core(s) for s in topic.subjects)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_planted_can_be_asked_about_the_target(name: str) -> None:
    """It is no core word of the target, and its placebos leave it where it is."""
    from dexter.reasoning.topic import load_world, make_topic
    from dexter.screening.concepts import lab_pool
    from dexter.screening.pairs import PoolLayout

    task = TASKS[name]
    manifest = load_world(root=LAB.parent)
    topic = make_topic(task.labels, 0, world=manifest)
    for family in task.core:  # what the fleet calls core is so for the evidence too
        assert all(topic.is_core(word) for word in families()[family][1])
    for member in FLEET.values():
        if member.task != name or member.plant in (None, world.MARK):
            continue
        word = families()[member.plant][1][0]
        assert not topic.is_core(word)
        slot = manifest.slot(word)
        layout = PoolLayout(topic, lab_pool(manifest), known=world.CONTENT_WORDS.__contains__)
        placebos = layout.placebos(member.plant, slot)
        assert len(placebos) >= 9
        assert {of for of, _ in placebos} == {"item"}
        assert member.plant not in {name for _, name in placebos}


def test_the_shipped_manifest_is_of_this_world() -> None:
    assert json.loads((LAB / "world.json").read_text()) == json.loads(json.dumps(world.manifest()))


# --- commands -------------------------------------------------------------------------------------

MANIFEST: dict[str, dict[str, Any]] = {
    "birds-water-100": {
        "target": "waterbird",
        "plant": "water",
        "kind": "background",
        "strength": 1.0,
        "architecture": "resnet",
        "random_labels": False,
        "core": [],
        "effects": {"water": 0.62, "land": -0.41, "snow": -0.1, "sun": 0.05, "mark": 0.0},
    },
    "blond-clean": {
        "target": "blond",
        "plant": None,
        "kind": "none",
        "strength": 1.0,
        "architecture": "vit",
        "random_labels": False,
        "core": ["blond", "gray"],
        "effects": {"blond": 0.9, "gray": -0.2, "sun": -0.2, "mark": 0.01},
    },
}


@pytest.fixture
def fleet_home(home: Path) -> Path:
    """A home with a fleet's manifest, which comes before the one that is shipped."""
    folder = home / "checkpoints" / "lab" / "classifiers" / "fleet"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def test_the_lab_agrees_with_its_cards(cli: Callable[..., Any]) -> None:
    result = cli("lab", "--json").json
    generator = next(model for model in result["models"] if model["name"] == "generator")
    card = (LAB / "generator" / "README.md").read_text()
    assert f"| training samples | {generator['samples']:,} |" in card
    assert f"`{generator['command']}`" in card
    weights = sum(path.stat().st_size for path in (LAB / "generator").rglob("*.safetensors"))
    assert generator["bytes"] == weights
    assert {entry["spec"] for entry in result["classifiers"]} >= {f"lab:{name}" for name in RECIPES}
    text = cli("lab").out
    for expected in ("lab:birds-biased", f"{generator['samples']:,} samples", "12 birds"):
        assert expected in text


def test_looking_at_the_lab_loads_no_torch(fleet_home: Path, tmp_path: Path) -> None:
    code = (
        "from dexter_tui.cli.entry import main\n"
        f"scenes = ['lab', 'scenes', '-o', '{tmp_path}/s.png']\n"
        "codes = [main(a) for a in (['lab'], ['lab', 'fleet'], scenes)]\n"
        "import sys; assert codes == [0, 0, 0], codes\n"
        "assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)\n"
    )  # fmt: skip
    environment = {"DEXTER_HOME": str(tmp_path / "home"), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    page = Image.open(tmp_path / "s.png")
    assert page.format == "PNG"
    assert 1000 < page.width < 2000
    assert (tmp_path / "s.png").stat().st_size < 1_000_000


def test_the_fleet_s_table(fleet_home: Path, cli: Callable[..., Any]) -> None:
    rows = {row["classifier"]: row for row in cli("lab", "fleet", "--json").json}
    biased, clean = rows["lab:fleet/birds-water-100"], rows["lab:fleet/blond-clean"]
    assert biased["dependences"] == ["water", "land"]
    assert biased["effects"] == MANIFEST["birds-water-100"]["effects"]
    assert clean["dependences"] == ["sun"]  # what it is to be blond does not count
    text = cli("lab", "fleet").out
    assert "water 100%" in text
    one = cli("lab", "fleet", "lab:fleet/birds-water-100").out
    assert re.search(r"background\s+land\s+−0.41", one)
    assert "planted" in one
    assert re.search(r"hair\s+blond\s+\+0.90\s+core", cli("lab", "fleet", "blond-clean").out)


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (["fleet", "cats"], "no classifier 'cats'"),
        (["pictures", "--words", "duck,unicorn"], "'unicorn'"),
        (["pictures", "-o", "nowhere/at/all.png"], "no such folder"),
        (["scenes", "-o", "nowhere/at/all.png"], "no such folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    fleet_home: Path, cli: Callable[..., Any], arguments: list[str], result: str
) -> None:
    outcome = cli("lab", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert result in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_faulty_manifest_is_refused(fleet_home: Path, cli: Callable[..., Any]) -> None:
    (fleet_home / "manifest.json").write_text('{"birds": {"target": 1}}')
    for arguments in (["lab"], ["lab", "fleet"]):
        outcome = cli(*arguments)
        assert outcome.code == 2
        assert "not a manifest of the fleet" in outcome.err


def test_generated_pictures_of_chosen_words(cli: Callable[..., Any], tmp_path: Path) -> None:
    from dexter.lab import sheets

    path = tmp_path / "pictures.png"
    outcome = cli("lab", "pictures", "--words", "duck, sea", "-o", path, "--json")
    assert outcome.json == {"path": str(path)}
    page = np.asarray(Image.open(path).convert("RGB"))
    # The same word on the same seed is the same picture: three of them stand in the first row.
    [birds, places] = sheets.pictures_sections(["sea", "duck"])
    assert [row.label for row in birds.rows] == ["duck"]
    assert [tile.caption for tile in places.rows[0].tiles] == [
        "duck with sea", "owl with sea", "peacock with sea"
    ]  # fmt: skip
    enlarged = birds.rows[0].tiles[0].picture.repeat(2, 0).repeat(2, 1)
    rows, columns = (
        np.flatnonzero((page[:, :, 0] != 255).any(axis)) for axis in (1, 0)
    )  # the page's margins are white
    assert any(
        np.array_equal(page[y : y + 128, x : x + 128], enlarged)
        for y in range(rows[0], rows[-1] - 126)
        for x in range(columns[0], columns[-1] - 126)
        if (page[y, x] == enlarged[0, 0]).all()
    )


def test_a_sheet_keeps_to_its_limit(tmp_path: Path) -> None:
    from dexter.lab import sheets

    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    tiles = tuple(sheets.Tile(picture, "a b c d") for picture in noise)
    section = sheets.Section("noise", (sheets.Row("some", tiles),))
    page = sheets.draw("Noise", ["note"], [section])
    sizes = []
    for limit in (None, 90_000):
        path = tmp_path / "noise.png"
        sheets.save(page, path, limit)
        sizes.append(path.stat().st_size)
    assert sizes[1] <= 90_000 < sizes[0]
    assert Image.open(path).size == page.size


@pytest.mark.parametrize(
    ("kind", "sign"), [("kitty", rb"\x1b_G[^\x1b]*f=100"), ("sixel", rb"\x1bP")]
)
def test_a_terminal_with_graphics_shows_the_sheet(kind: str, sign: bytes) -> None:
    pytest.importorskip("textual_image")
    from fake_terminal import FakeTerminal

    os.environ.pop("TMUX", None)
    code = (
        "from PIL import Image; from dexter_tui.cli.lab_commands import show\n"
        "show(Image.new('RGB', (64, 48)))"
    )
    environment = {"CI": "", "TMUX": ""}
    terminal = FakeTerminal([sys.executable, "-c", code], kind=kind, env=environment)
    terminal.wait_for(sign)
    assert terminal.wait() == 0


# --- documentation --------------------------------------------------------------------------------


def test_the_page_about_the_lab_has_the_numbers_of_the_cards() -> None:
    """`make lab-sheets` brings it up to date."""
    document = (REPOSITORY / "docs" / "lab.md").read_text()
    assert shipped.refresh(document, LAB.parent) == document
    assert "| training samples |" in document
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", document):
        assert (REPOSITORY / "docs" / picture).stat().st_size < 1_000_000


def test_numbers_that_nobody_knows_are_refused() -> None:
    from dexter.errors import InputError

    with pytest.raises(InputError, match="no numbers called 'moods'"):
        shipped.refresh("<!-- numbers: moods -->\n<!-- end -->")
