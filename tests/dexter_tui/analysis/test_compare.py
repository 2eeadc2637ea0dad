"""Comparisons: in a toy world whose causes are known, by the command, and on the screen."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shared_home
import tiny
import toy
from hostile import hostile_comparison
from markdown_it import MarkdownIt
from piloting import SIZES, dashboard, driven, press, settle, text, until
from report_study import add_study
from textual.pilot import Pilot

from dexter.generation.bank import MemoryBank
from dexter.generation.pictures import Pictures
from dexter.reasoning.claims import Candidate
from dexter.reasoning.differences import difference, judged, most_different, shared_topic, union
from dexter.reasoning.evidence import Experiment, Witness, corrected
from dexter.reasoning.topic import Family, World
from dexter.screening.concepts import lab_pool
from dexter.screening.pairs import PoolLayout, worded
from dexter_tui.dashboard.screens.compare import CompareScreen
from dexter_tui.dashboard.screens.enlarged_picture import PairsScreen
from dexter_tui.dashboard.widgets.claim_matrix import ClaimMatrix
from dexter_tui.dashboard.widgets.form import Form
from store import Store
from store.reading import comparisons
from store.reading.browse import Browse

WORLD = World(
    families={
        "birds": Family(("duck", "swan", "eagle", "owl"), "subject"),
        "water": Family(("sea", "lake"), "background"),
        "land": Family(("forest", "desert"), "background"),
        "things": Family(("ball", "gift", "hat", "lamp", "tree", "sun"), "item"),
    },
    subjects={"target": ("duck", "swan")},
    rivals={"target": ("eagle", "owl")},
    core={"target": ("duck", "swan")},
)


# What is asked, and what makes a difference


def experiment(painter: toy.Painter, bank: MemoryBank, beside: Witness | None = None) -> Experiment:
    pictures = Pictures(painter, "key", bank)  # type: ignore[arg-type]
    witness = Witness(pictures, toy.classifier(), 0, toy.Reader(), beside=beside)
    topic = shared_topic([(toy.LABELS, 0)], world=WORLD)
    return Experiment(witness, topic, PoolLayout(topic, POOL, WORDS), placebos=3, looks=(128,))


POOL = lab_pool(WORLD, able={})
WORDS, CANDIDATES = worded(POOL, [Candidate(word, direction=0) for word in ("sea", "forest")])


def test_the_pictures_of_fixed_concepts_are_known_before_and_no_more_are_made() -> None:
    painter, bank = toy.Painter({"sea": 0.3}, noise=0.05), MemoryBank()
    first = experiment(painter, bank)
    requests = first.requests(CANDIDATES)
    assert len(requests) == len(set(requests))
    first.test(CANDIDATES)
    assert painter.count == len(requests)
    for _ in range(3):
        experiment(painter, bank, first.witness).test(CANDIDATES)
    assert painter.count == len(requests)


def test_a_difference_is_found_with_its_sign_and_nothing_where_there_is_none() -> None:
    biased, opposite = ({"sea": effect, "lake": effect} for effect in (0.4, -0.3))
    found = {}
    for name, effects in (("biased", biased), ("same", biased), ("opposite", opposite)):
        one = experiment(toy.Painter(effects, noise=0.05), MemoryBank())
        claims = one.test(CANDIDATES)
        found[name] = {
            c.concept: (c, one.changes(k)) for c, k in zip(claims, CANDIDATES, strict=True)
        }
    assert found["biased"]["sea"][0].verdict == "confirmed"
    assert found["biased"]["sea"][0].direction == 1
    assert found["opposite"]["sea"][0].verdict == "confirmed"
    assert found["opposite"]["sea"][0].direction == -1

    def between(a: str, b: str, concept: str) -> Any:
        return difference(concept, found[a][concept][1], found[b][concept][1], detected=1.0)

    far, none, still = judged(
        [
            between("biased", "opposite", "sea"),
            between("biased", "same", "sea"),
            between("biased", "opposite", "forest"),
        ],
        0.1,
    )
    assert (far.verdict, far.pairs) == ("differ", 128)
    assert far.low < far.effect < far.high
    assert far.effect == pytest.approx(0.7, abs=0.1)
    assert far.low > 0
    assert (none.verdict, none.effect) == ("alike", 0)
    assert still.verdict == "alike"


def test_differences_beyond_one_keep_their_interval() -> None:
    ones = np.ones(32) - np.linspace(0, 0.1, 32)
    found = difference("sea", ones, -ones, detected=1.0)
    assert found.low <= found.effect <= found.high
    assert found.effect > 1.8


def test_what_was_not_drawn_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 0.1, 64), rng.normal(-0.2, 0.1, 64)
    for detected in (None, 0.1):
        [one] = judged([difference("sea", a, b, detected=detected)], 0.1)
        assert (one.verdict, one.reason) == ("open", "not_drawn")
    [one] = judged([difference("sea", a, b, detected=0.9)], 0.1)
    assert (one.verdict, one.reason) == ("differ", None)


def test_a_clear_difference_is_found_among_those_of_8_classifiers() -> None:
    family = 12 * 28  # of 12 concepts for every two classifiers
    far = difference("sea", np.full(64, 0.9), np.zeros(64), detected=0.9, family=family)
    assert {one.verdict for one in judged([far] * family, 0.1)} == {"differ"}


def test_candidates_of_all_studies_are_asked_once_each() -> None:
    one = [Candidate("sea", "background", 1, {"words": ["r1"]}), Candidate("snow", "background")]
    two = [Candidate("forest", "background"), Candidate("sea", "background", 1, {"words": ["r2"]})]
    found = union([one, two, []])
    assert [candidate.concept for candidate in found] == ["sea", "forest", "snow"]
    assert found[0].sources == {"words": ["r1", "r2"]}
    assert {candidate.direction for candidate in found} == {0}


def test_rivals_are_labels_that_all_have() -> None:
    topic = shared_topic(
        [(["cat", "dog", "cow", "owl"], 0), (["owl", "Cat", "cow"], 1)], world=World()
    )
    assert topic.rivals[:2] == ("cow", "owl")


def test_claims_of_all_members_are_one_family() -> None:
    claims = experiment(toy.Painter({"sea": 0.2}, noise=0.3), MemoryBank()).test(CANDIDATES)
    twice = corrected([*claims, *claims])
    assert all(a.p_corrected <= b.p_corrected for a, b in zip(claims, twice, strict=False))
    assert any(a.p_corrected < b.p_corrected for a, b in zip(claims, twice, strict=False))


def test_most_different_pictures() -> None:
    assert most_different(np.array([0.1, 0.9, 0.5]), np.array([0.2, 0.1, 0.5]), 2) == [1, 0]


# The command


home = shared_home.fixture


def names() -> list[str]:
    """Two classifiers that differ."""
    return [f"hf:{tiny.classifier_folder()}", f"hf:{tiny.other_classifier_folder()}"]


def options(*more: object) -> list[object]:
    return [
        *("--class", "waterbird", "--generator", tiny.generator_folder()),
        *("--masked-lm", tiny.masked_lm_folder(), "--image-text", tiny.image_text_folder()),
        *("--concepts", "sea, snow", "--pairs", 32, "--placebos", 1, "--device", "cpu"),
        *("--diffusion-steps", 1, *more),
    ]


@pytest.fixture(scope="module")
def made(home: Path) -> dict[str, Any]:
    """A comparison as `compare --json` prints it."""
    import contextlib
    import io
    import json

    from dexter_tui.cli.entry import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([str(part) for part in ("compare", *names(), *options("--json"))])
    assert code == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.mark.long
def test_compare_prints_everything_in_json(made: dict[str, Any], home: Path) -> None:
    a, b = names()
    assert made["classifiers"] == [a, b]
    assert {(c["classifier"], c["concept"]) for c in made["claims"]} == {
        (name, concept) for name in (a, b) for concept in ("sea", "snow")
    }
    for claim in made["claims"]:
        assert claim["low"] <= claim["effect"] <= claim["high"]
        assert claim["verdict"] in ("confirmed", "refuted", "inconclusive")
    assert [(d["concept"], d["a"], d["b"]) for d in made["differences"]] == [
        ("sea", a, b),
        ("snow", a, b),
    ]
    for one in made["differences"]:
        assert one["low"] <= one["effect"] <= one["high"]
        assert 0 < one["p_corrected"] <= 1
        assert one["pairs"] == 32
    result = made["pictures"]
    assert result["drawn"] == result["claims"]
    assert set(result["one_alone"].values()) == {result["claims"]}
    assert len(made["disagreements"]) == 4
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        [[count]] = connection.execute("SELECT count(*) FROM picture")
    assert count == result["claims"]


@pytest.mark.long
def test_a_difference_is_that_of_the_effects_in_each_pair(made: dict[str, Any], home: Path) -> None:
    browse = Browse(home)
    changes = {}
    for claim in made["claims"]:
        pairs = comparisons.pairs(browse, claim["id"])
        if len(pairs) == 32 and claim["concept"] == "sea":
            changes[claim["classifier"]] = sum(
                pair["treated"]["p"] - pair["control"]["p"] for pair in pairs
            ) / len(pairs)
    if len(changes) == 2:  # no context was left out
        a, b = names()
        assert made["differences"][0]["effect"] == pytest.approx(changes[a] - changes[b], abs=1e-5)


@pytest.mark.long
def test_a_stored_comparison_is_shown_again_and_its_baseline_turns_differences_round(
    made: dict[str, Any], cli: Callable[..., Any]
) -> None:
    shown = cli("compare", made["id"])
    assert shown.code == 0
    assert f"pictures: {made['pictures']['claims']} for the claims" in " ".join(shown.out.split())
    a, b = names()
    turned = cli("compare", made["id"][:5], "--baseline", a, "--json").json
    assert turned["baseline"] == a
    for one, before in zip(turned["differences"], made["differences"], strict=True):
        assert (one["a"], one["b"]) == (b, a)
        assert one["effect"] == pytest.approx(-before["effect"])
        assert (one["low"], one["high"]) == pytest.approx((-before["high"], -before["low"]))
    assert cli("compare", made["id"], "--baseline", "nobody").code == 2
    assert made["id"] in cli("compare").out


@pytest.mark.long
def test_a_second_comparison_draws_nothing(made: dict[str, Any], cli: Callable[..., Any]) -> None:
    again = cli("compare", *reversed(names()), *options("--json")).json
    assert again["pictures"]["drawn"] == 0
    assert again["pictures"]["claims"] == made["pictures"]["claims"]
    effects = {(c["classifier"], c["concept"]): c["effect"] for c in made["claims"]}
    for claim in again["claims"]:
        assert claim["effect"] == effects[claim["classifier"], claim["concept"]]


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lab:birds-biased"], "name 2 to 8 classifiers"),
        (["lab:birds-biased", "lab:birds-balanced"], "--class"),
        (["lab:birds-biased", "lab:birds-balanced", "--class", "waterbird"], "--run-missing"),
        (["lab:birds-biased", "lab:nothing", "--class", "waterbird"], "nothing"),
        (["lab:birds-biased", "lab:birds-balanced", "--class", "goose"], "goose"),
        (["lab:birds-biased", "lab:objects", "--class", "0", "--concepts", "sea"], "but 'duck'"),
        (["lab:birds-biased", "./absent.pth", "--class", "0"], "absent.pth does not exist"),
        (["s2222222", "s3333333"], "no study"),
        (["cnothing"], "no comparison"),
        (["lab:birds-biased", "lab:birds-balanced", "--class", "waterbird", "--concepts", "sea",
          "--pairs", "33"], "--pairs"),
        (["lab:birds-biased", "lab:birds-balanced", "--class", "waterbird", "--concepts", "sea",
          "--baseline", "x"], "--baseline"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_a_line(
    arguments: list[str], said: str, cli: Callable[..., Any], home: Path, made: dict[str, Any]
) -> None:
    result = cli("compare", *arguments)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) <= 2


# Pages and screens


def test_no_text_in_a_comparison_formats_terminal_or_page(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "own"))
    found = hostile_comparison(tmp_path / "own")
    shown = cli("compare", found)
    assert shown.code == 0, shown.err
    assert "\x1b" not in shown.out and "\u202e" not in shown.out
    assert "[bold]" in shown.out
    page = tmp_path / "page.md"
    assert cli("export", found, "-o", page).code == 0
    tokens = [t for b in MarkdownIt("gfm-like").parse(page.read_text()) for t in b.children or ()]
    assert {t.content for t in tokens if t.type == "html_inline"} <= {"<br>"}
    assert not [t for t in tokens if t.type in ("link_open", "em_open", "s_open")]
    # Bold are the concepts, and code is a command, each whole.
    concept = "[31m[bold]<script>x</script>|`"
    bold = [after for t, after in pairwise(tokens) if t.type == "strong_open"]
    assert {t.content.replace("\u241b", "") for t in bold} <= {concept}
    assert all(t.content.startswith("dexter-tui ") for t in tokens if t.type == "code_inline")


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES[::2], ids=lambda size: f"{size[0]}x{size[1]}")
@driven
async def test_the_matrix_drills_down_to_the_pictures(
    made: dict[str, Any], home: Path, size: tuple[int, int]
) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await press(pilot, "c")
        await until(pilot, lambda: made["id"] in text(pilot))
        app.push_screen(CompareScreen(made["id"]))
        await until(pilot, lambda: "snow" in text(pilot))
        shown = text(pilot)
        assert re.search(r"sea +[?✓✗] ", shown)
        await press(pilot, "down", "right")
        matrix = app.screen.query_one(ClaimMatrix)
        assert matrix.selected is not None
        assert (matrix.selected["concept"], matrix.selected["classifier"]) == ("snow", names()[1])
        for page, word in (
            ("2", "difference"),
            ("4", "seed"),
            ("5", "Key features"),
            ("6", "pictures:"),
        ):
            await press(pilot, page)
            assert word in text(pilot), page
        await press(pilot, "1", "f", "f", "f", "enter")
        assert isinstance(app.screen, PairsScreen)
        if matrix.selected["pairs"]:
            await until(pilot, lambda: "▀" in text(pilot) or "▄" in text(pilot))
            pair = app.screen.pairs[0]
            words = [
                pair[side]["prompt"].replace(",", "").split() for side in ("treated", "control")
            ]
            assert "snow" in {*words[0]} - {*words[1]} <= {"snow", "and", "with"}
            assert " ".join(words[0][:4]) in text(pilot)  # lines wrap at 36 columns
        await press(pilot, "right", "left", "x", "escape")
        assert isinstance(app.screen, CompareScreen)


async def fill_in(pilot: Pilot[None], **values: str) -> Form:
    """Type into the rows of the form."""
    form = pilot.app.screen.query_one(Form)
    for name, value in values.items():
        form.go_to(name)
        form.put(value)
    await settle(pilot)
    return form


@driven
async def test_the_form_for_a_comparison_completes_and_says_what_is_wrong(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    async with dashboard(tmp_path).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await press(pilot, "c", "n")
        form = pilot.app.screen.query_one(Form)
        await until(pilot, lambda: "lab:birds-balanced" in text(pilot))
        await press(pilot, *"biased")
        await until(pilot, lambda: "tab lab:birds-biased" in text(pilot))
        await press(pilot, "tab")
        form.go_to("classifiers")
        await press(pilot, *", balanc", "tab")
        assert form["classifiers"].value == "lab:birds-biased, lab:birds-balanced"
        await until(pilot, lambda: "To start, fill in" in text(pilot))
        await fill_in(pilot, class_name="waterbird")
        await until(pilot, lambda: "--run-missing searches first" in text(pilot))
        await fill_in(pilot, run_missing="yes", seeds="2")
        await until(pilot, lambda: "start 2 classifiers; 4 missing runs first" in text(pilot))
        await fill_in(pilot, run_missing="no", concepts="sea, lake")
        await until(pilot, lambda: "start 2 classifiers" in text(pilot))
        await fill_in(pilot, pairs="33")
        await until(pilot, lambda: form["pairs"].error)
        await fill_in(pilot, pairs="", baseline="nobody", class_name="waterbird; goose")
        await until(pilot, lambda: "'goose' is none of the 3 classes" in text(pilot))
        await fill_in(pilot, class_name="waterbird; landbird")
        await until(pilot, lambda: "'nobody' is none of lab:birds-biased" in text(pilot))
        await fill_in(pilot, baseline="lab:birds-biased")
        await until(pilot, lambda: "start 2 classifiers, 2 classes" in text(pilot))


@pytest.mark.long
@driven
async def test_a_comparison_is_started_from_the_form(made: dict[str, Any], home: Path) -> None:
    (home / "config.toml").write_text(
        f"[run]\ngenerator = '{tiny.generator_folder()}'\nmasked_lm = '{tiny.masked_lm_folder()}'\n"
        "device = 'cpu'\ndiffusion_steps = 1\n"
    )
    async with dashboard(home).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await press(pilot, "c", "n")
        await fill_in(
            pilot, classifiers=", ".join(names()), class_name="waterbird", concepts="sea, snow",
            pairs="32", placebos="1", image_text=str(tiny.image_text_folder()),
        )  # fmt: skip
        await press(pilot, "ctrl+s")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen))
        await until(pilot, lambda: "snow" in text(pilot))
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen) and screen.comparison_id != made["id"]
        page = comparisons.page(Browse(home), screen.comparison_id)
        assert (page["pictures"]["drawn"], page["claims"][0]["effect"]) == (
            0,
            made["claims"][0]["effect"],
        )
    (home / "config.toml").unlink()


@driven
async def test_a_hostile_comparison_is_shown_as_it_is(tmp_path: Path) -> None:
    found = hostile_comparison(tmp_path)
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.push_screen(CompareScreen(found))
        await until(pilot, lambda: "+0.30" in text(pilot))
        assert "[bold]" in text(pilot)
        for page in "123456":
            await press(pilot, page)
            assert "\x1b" not in text(pilot)
            # The table of the command line, in the colours of the theme.
            assert page != "2" or app.palette.bad in app.export_screenshot()
        await press(pilot, "1", "f")
        assert "Claims: differ" in text(pilot)
        await press(pilot, "right", "right", "right", "down", "b")
        await until(pilot, lambda: "*" in text(pilot))


@pytest.mark.long
def test_two_studies_of_one_classifier_are_asked_with_the_options_of_each(
    made: dict[str, Any], home: Path, cli: Callable[..., Any]
) -> None:
    """The last test of the file: it leaves studies in its home."""
    faint = {"mean": (0.0,) * 3, "std": (9.0,) * 3}
    studies = [add_study(home), add_study(home, **faint)]
    asked = ["--concepts", "sea", "--pairs", 32, "--placebos", 1, "--device", "cpu", "--json"]
    outcome = cli("compare", *studies, *asked, "--image-text", tiny.image_text_folder())
    assert outcome.code == 0, outcome.err
    own, other = outcome.json["claims"]
    assert own["effect"] != other["effect"]
