"""A search that begins with the effects of a screening in the store."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.screening.concepts import lab_pool
from dexter_tui.jobs import submit
from store import Store, screening_records

QUESTION = {"classifier": "lab:birds-biased", "class_name": "waterbird", "device": "cpu"}


@pytest.fixture
def screening(home: Path) -> str:
    """A screening of a classifier of the lab, which found that sea and lake raise the class."""
    [checked] = submit.described([RunConfig.from_preset(**QUESTION)], home)
    with Store.open(home) as store:
        screening_records.ensure_bank(
            store,
            "bank",
            pool="lab",
            pool_text=None,
            pool_hash=lab_pool().content_hash,
            topic={},
            seed=0,
        )
        info = checked.info
        member = {
            "name": info.spec,
            "classifier_id": store.ensure_classifier(
                info.spec, info.weights_hash, info.labels, info.image_size
            ),
            "class_index": checked.class_index,
            "config": {},
        }
        made = screening_records.add_screening(store, "bank", "waterbird", {}, [member])
        [row] = screening_records.screened(store, made)
        finding = {
            **dict.fromkeys(("effect", "low", "high", "direct"), 0.3),
            **{"slot": "background", "concept": "water", "verdict": "raises", "pictures": 200},
            **{"log_odds": 2.0, "log_odds_low": 1.0, "log_odds_high": 3.0, "core": False},
            **{"contexts": {}, "companions": [], "explained_by": []},
        }
        alone = finding | {"concept": "sea", "log_odds": 3.0, "log_odds_high": 5.0}
        columns = {"pictures": 800, "level": 0.95, "mean": 0.5}
        results = {row.id: (columns, [finding, alone])}
        screening_records.record_findings(store, made, results, state="done")
    return made


def test_a_run_keeps_the_effects_of_the_words_of_its_screening(home: Path, screening: str) -> None:
    config = RunConfig.from_preset(**QUESTION, screening=screening[:5])
    with Store.open(home) as store:
        [run_id] = submit.enqueue(store, [config])
        kept = RunConfig.model_validate(store.run(run_id).config)
    assert kept.screening == screening
    assert kept.word_effects is not None
    assert set(kept.word_effects) == {"sea", "lake", "water"}
    assert kept.word_effects["sea"][0] == 3.0  # what is known of it alone
    assert kept.word_effects["lake"] == pytest.approx((2.0, 1 / 1.96), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"classifier": "lab:birds-balanced"}, "is not of lab:birds-balanced"),
        ({"class_name": "landbird"}, "is not of lab:birds-biased and landbird"),
        ({"screening": "xnothing"}, "xnothing"),
        ({"explore": 0}, "explore"),
        ({"class_loss": "bounded"}, "class_loss"),
    ],
)
def test_a_screening_that_does_not_fit_is_refused_in_one_line(
    home: Path, screening: str, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError) as refused:
        submit.check(
            [RunConfig.from_preset(**{**QUESTION, "screening": screening, **changes})], home
        )
    assert problem in str(refused.value) and "\n" not in str(refused.value)


def test_a_screening_of_another_version_of_its_pool_is_refused(home: Path, screening: str) -> None:
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE bank SET pool_hash = 'of an earlier version'")
    config = RunConfig.from_preset(**QUESTION, screening=screening)
    with pytest.raises(InputError, match=f"{screening}: the pool lab has changed since"):
        submit.check([config], home)


def test_without_a_store_there_is_no_screening(cli: Callable[..., Any], home: Path) -> None:
    outcome = cli(
        "run", "--classifier", "lab:birds-biased", "--class", "waterbird", "--screening", "x1"
    )
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "--screening" in outcome.err
    assert not (home / "store.sqlite").exists()
