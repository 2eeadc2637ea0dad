"""The verdict card: what it says, how sure it is, and what it never confuses."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import NormalDist
from typing import get_args

import numpy as np
import pytest
import shown_store

from dexter import stats
from dexter.config import fields_of
from dexter.reasoning import claims
from dexter.reasoning.settings import ScreenSettings
from dexter.screening.regression import Estimate
from store.reading import card, reasons
from store.reading.browse import Browse
from store.reading.card import VerdictCard
from store.reading.origin import origin
from store.reading.sensitivity import LOOKS, detectable, detectable_by_screening


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = shown_store.copy(tmp_path / "home")
    shown_store.compare(home)
    return home


def change(home: Path, sql: str) -> None:
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute(sql)


def study_card(home: Path) -> VerdictCard:
    found = card.of_study(Browse(home), shown_store.STUDY)
    assert found is not None
    return found


def test_a_bias_comes_first_with_its_effect_and_a_pair(home: Path) -> None:
    found = study_card(home)
    assert (found.verdict, found.headline) == ("bias", "relies on water")
    lines = found.lines()
    assert lines[0].text == (
        "relies on water (not part of waterbird): +0.41 [+0.28, +0.53]; 34% of predictions flip"
    )
    assert [line.kind for line in lines] == ["bias", "pair", "core", "unused", "undrawn", "next"]
    assert "0.00 without, 1.00 with water" in lines[1].text
    assert lines[-1].parts[-1] == (
        "dexter-tui compare lab:birds-biased OTHER --class waterbird --concepts water",
        "command",
    )


def test_the_next_command_loads_the_classifier_as_the_study_did(home: Path) -> None:
    assert set(card.LOADING) == {*fields_of("classifier")} - {"classifier", "trust_pickle"}
    fields = ScreenSettings.model_fields
    usual = ScreenSettings().model_dump(mode="json")
    assert {name: usual[name] for name in card._AUDIT} == card._AUDIT
    assert fields["pictures"].metadata[-1].le == card._MOST_PICTURES
    given = "'$.arch', 'resnet 50', '$.mean', json_array(0.5), '$.multi_label', json('false')"
    change(home, f"UPDATE study SET settings = json_set(settings, {given})")
    change(home, f"UPDATE member SET config = json_set(config, {given})")
    change(home, "UPDATE run SET config = json_set(config, '$.trust_pickle', json('true'))")
    flags = "--class waterbird --arch 'resnet 50' --mean 0.5 --no-multi-label"
    text = study_card(home).next_step.text
    assert f" OTHER {flags} --concepts" in text and "trust" not in text  # consent is not copied
    for found in card.of_comparison(Browse(home), shown_store.COMPARISON):
        assert f" {flags}" in found.next_step.text


def test_a_concept_of_two_slots_is_named_with_its_slot(home: Path) -> None:
    change(home, "UPDATE claim SET concept = 'dog', slot = 'place' WHERE concept = 'water'")
    change(home, "UPDATE claim SET concept = 'dog', slot = 'beside' WHERE reason = 'not_drawn'")
    found = study_card(home)
    assert found.headline == "relies on dog (place)"
    assert [one.concept for one in found.undrawn] == ["dog (beside)"]
    assert found.next_step.text.endswith("--concepts dog")


def test_only_a_study_is_to_be_reported_on(home: Path) -> None:
    change(home, "DELETE FROM claim")
    assert study_card(home).next_step.text.endswith(f"dexter-tui report {shown_store.STUDY}")
    for found in card.of_comparison(Browse(home), shown_store.COMPARISON):
        assert found.verdict == "untested"
        assert found.next_step.text.endswith("dexter-tui status")


def test_a_clean_classifier_comes_with_the_effect_that_would_have_been_found(home: Path) -> None:
    biased, balanced = card.of_comparison(Browse(home), shown_store.COMPARISON)
    assert biased.verdict == "bias"
    assert (balanced.verdict, balanced.sensitivity) == ("clean", 0.17)
    assert balanced.lines()[0].text == (
        "no bias confirmed for waterbird; each of 3 tests would have found an effect of 0.17 with "
        "95% probability"
    )
    change(home, "DELETE FROM claim WHERE member_id IS NOT NULL AND concept != 'tree'")
    [alone] = [one for one in card.of_comparison(Browse(home), shown_store.COMPARISON)
               if one.classifier == balanced.classifier]  # fmt: skip
    assert "; the test of tree would have found an effect of 0." in alone.lines()[0].text


def test_a_classifier_that_answers_all_pictures_alike_is_named_as_one(home: Path) -> None:
    shown_store.screen(home)
    change(home, "UPDATE finding SET effect = 1e-9, low = -0.04, high = 0.04, verdict = 'none'")
    change(home, "DELETE FROM claim WHERE screened_id IS NOT NULL")
    [found, _] = card.of_screening(Browse(home), shown_store.SCREENING)
    assert (found.verdict, found.constant) == ("clean", 0.41)
    assert found.headline == (
        "no bias confirmed: it answers everything alike, p(waterbird) = 0.41 in all pictures"
    )
    assert found.lines()[0].text.startswith(
        "no bias confirmed for waterbird: it answers everything alike, p(waterbird) = 0.41 in all "
        "pictures; each of 6 tests would have found an effect of 0."
    )
    assert found.next_step.parts[-1] == ("dexter-tui inspect lab:birds-biased", "command")
    change(home, "UPDATE screened SET mean = 1e-7")
    [rare, _] = card.of_screening(Browse(home), shown_store.SCREENING)
    assert rare.headline == "no bias confirmed: p(waterbird) = 0.00 in all pictures"


def test_a_class_that_is_hardly_recognised_is_no_clean_bill(home: Path) -> None:
    """As with pictures scaled or normalised otherwise than in training."""
    shown_store.screen(home)
    change(home, "UPDATE finding SET effect = 0.01, low = -0.04, high = 0.04, verdict = 'none'")
    change(home, "DELETE FROM claim WHERE screened_id IS NOT NULL")
    change(home, "UPDATE screened SET mean = 0.02")
    [found, _] = card.of_screening(Browse(home), shown_store.SCREENING)
    assert found.lines()[1].text == (
        "But it hardly recognises waterbird in these pictures: mean p(waterbird) 0.02, though "
        "half of them show the class. A bias may be hidden."
    )
    assert found.next_step.text.endswith(
        "input size and normalization: dexter-tui inspect lab:birds-biased"
    )


def test_the_next_step_settles_what_is_undecided(home: Path) -> None:
    shown_store.screen(home)
    change(home, "UPDATE finding SET effect = 0.03, low = -0.06, high = 0.12, verdict = 'weak'")
    change(home, "UPDATE finding SET verdict = 'none' WHERE concept != 'tree'")
    change(home, "DELETE FROM claim WHERE screened_id IS NOT NULL")
    change(home, "UPDATE screening SET settings = json_set(settings, '$.core', json_array('sea'))")
    change(home, "UPDATE screened SET config = json_set(config, '$.generator', 'lab')")
    [found, _] = card.of_screening(Browse(home), shown_store.SCREENING)
    undecided, step = found.lines()[-2:]
    assert undecided.text == "Undecided, may be large enough to count: tree"
    pictures = found.more.split()[1]
    assert step.text == (
        "Next: draw more pictures to decide on tree: dexter-tui audit lab:birds-biased "
        f"--class waterbird --pictures {pictures} --core sea"
    )
    change(home, "UPDATE bank SET pool = 'mine'")
    [found, _] = card.of_screening(Browse(home), shown_store.SCREENING)
    assert found.next_step.text.endswith("--pool FILE --core sea")
    change(home, "UPDATE claim SET verdict = 'inconclusive', reason = 'too_few_pairs', core = 0")
    assert study_card(home).next_step.text.startswith(
        "Next: test water alone: dexter-tui probe 'a waterbird with water' --classifier "
    )


@pytest.mark.parametrize(
    ("reason", "kind"), [("saturated", "open"), ("not_drawn", "undrawn"), (None, None)]
)
def test_nothing_is_claimed_where_nothing_was_tested(
    home: Path, reason: str | None, kind: str | None
) -> None:
    if reason is None:
        change(home, "DELETE FROM claim WHERE study_id IS NOT NULL")
    else:
        change(
            home,
            f"UPDATE claim SET verdict = 'inconclusive', reason = '{reason}', pairs = 0, core = 0",
        )
    found = study_card(home)
    assert (found.verdict, found.sensitivity) == ("untested", None)
    kinds = [line.kind for line in found.lines()]
    assert kinds == ["untested", *([kind] if kind else []), "next"]


def test_what_lowers_the_class_is_a_bias_too(home: Path) -> None:
    change(home, "UPDATE claim SET effect = -0.41, low = -0.53, high = -0.28 WHERE number = 1")
    found = study_card(home)
    assert (found.verdict, found.headline) == ("bias", "loses confidence with water")
    assert [line.kind for line in found.lines()].count("lowers") == 0


def test_each_reason_of_undecided_concepts_is_said_once(home: Path) -> None:
    shown_store.screen(home)
    change(home, "UPDATE finding SET verdict = 'open' WHERE concept IN ('rainbow', 'tree')")
    [found, _] = card.of_screening(Browse(home), shown_store.SCREENING)
    [line] = [line for line in found.lines() if line.kind == "open"]
    assert line.text == (
        "Undecided, interval too wide: snow; explained by gray: old; "
        "too few pictures: tree, rainbow"
    )
    assert [part for part, style in line.parts if style == "concept"] == [
        "snow", "old", "tree", "rainbow",
    ]  # fmt: skip


def test_pictures_of_the_toy_are_named_for_other_classifiers(home: Path) -> None:
    change(home, "UPDATE classifier SET spec = 'hf:mine'")
    found = study_card(home)
    assert "toy" in found.origin and found.lines()[1].kind == "toy"
    assert "toy" not in origin("lab:birds-biased", "lab")
    assert "toy" not in origin("hf:mine", "stabilityai/sd-turbo")


def flips(rng: np.random.Generator, effect: float, pairs: int) -> Iterator[np.ndarray]:
    while True:
        yield (rng.random(pairs) < effect) + rng.normal(0, 1e-4, pairs)


def test_the_effect_named_is_found_by_the_procedure_itself() -> None:
    assert LOOKS == stats.LOOKS
    family, looks = 5, (16, 32, 64)
    effect = detectable(spread=0.0, pairs=looks, family=family, min_effect=0.1, placebo=0.05)
    assert effect == 0.3
    found, trials = 0, 60
    for _, differences in zip(range(trials), flips(np.random.default_rng(0), effect, looks[-1]),
                              strict=False):  # fmt: skip
        for look in looks:
            some = differences[:look]
            low, high = stats.bootstrap_interval(some)
            if low > -0.1 and high < 0.1:
                break
            if some.mean() >= 0.1 and stats.sign_flip_p(some, 4000) * 3 * family <= 0.05:
                found += 1
                break
    assert found >= 0.95 * trials


def test_more_pairs_and_less_spread_find_smaller_effects() -> None:
    def of(pairs: int, spread: float = 0.1) -> float:
        effect = detectable(spread=spread, pairs=[pairs], family=5, min_effect=0.1, placebo=None)
        return 2.0 if effect is None else effect

    assert of(128) < of(64) < of(32) < of(16)
    assert of(64) < of(64, 0.3)
    assert detectable(spread=0.5, pairs=[4], family=5, min_effect=0.1, placebo=None) is None
    wide, narrow = (
        detectable_by_screening(
            half_width=half, level=0.9995, pictures=200, min_effect=0.1, family=5
        )
        for half in (0.12, 0.03)
    )
    assert wide is not None and narrow is not None and narrow < wide


@pytest.mark.parametrize("min_effect", [0.1, 0.4])
def test_a_screening_proposes_the_effect_that_its_sensitivity_names(min_effect: float) -> None:
    half, level, pictures = 0.25, 0.9995, 400
    effect = detectable_by_screening(
        half_width=half, level=level, pictures=pictures, min_effect=min_effect, family=1
    )
    assert effect is not None
    z = NormalDist().inv_cdf((1 + level) / 2)
    error = float(np.hypot(half / z, np.sqrt(effect * (1 - effect) / pictures)))
    regression = Estimate(effect - 1.96 * error, error, pictures, 10**6, 0.5)
    low, _ = regression.interval(1 - level)
    assert regression.effect >= min_effect and low >= min_effect / 2  # a finding


@pytest.mark.parametrize("reason", get_args(claims.Reason))
@pytest.mark.parametrize("effect", [-0.2, 0.0, 0.2])
def test_engine_and_store_say_reasons_alike(reason: str, effect: float) -> None:
    for direction in (1, -1):
        said = claims.in_words(reason, effect, direction)
        assert reasons.in_words(reason, effect, direction) == said and "_" not in said
