"""The guided start: from an empty home to a verdict on a model of the user's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from piloting import dashboard, driven, press, settle, text, until
from textual import events
from textual.pilot import Pilot

from dexter_tui.analysis import screening_request
from dexter_tui.dashboard.screens.home.screen import HomeScreen
from dexter_tui.dashboard.screens.new_run import NewRunScreen
from dexter_tui.dashboard.screens.screening.page import ScreeningScreen
from dexter_tui.dashboard.screens.start.offers import (
    Offer,
    class_offers,
    completed,
    generator_offers,
    model_offers,
)
from dexter_tui.dashboard.screens.start.screen import StartScreen
from dexter_tui.dashboard.start import prepare_store
from store.reading import screenings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "home"
    monkeypatch.setenv("DEXTER_HOME", str(path))
    prepare_store(path, read_only=False)
    yield path


async def type_text(pilot: Pilot[None], typed: str) -> None:
    """Type a text without waiting between its letters."""
    for letter in typed:
        pilot.app.post_message(events.Key(letter, letter))
    await settle(pilot)


@pytest.mark.long
@driven
async def test_a_folder_of_the_users_is_explained_with_few_keys(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening_request, "PICTURES", 99)  # as few as the design allows
    monkeypatch.setattr(screening_request, "PER_WORDING", 1)
    async with dashboard(home).run_test(notifications=True, size=(80, 24)) as pilot:
        await settle(pilot)
        keys = 0

        async def key(name: str) -> None:
            nonlocal keys
            keys += 1
            await press(pilot, name)

        await key("n")
        assert "Which model?" in text(pilot)
        await type_text(pilot, str(tiny.classifier_folder()))
        assert "Hugging Face model" in text(pilot)
        await key("enter")
        await until(pilot, lambda: "landbird" in text(pilot))
        assert "Which class?" in text(pilot) and "3 labels, 32 px" in text(pilot)
        await key("down")
        await key("enter")
        await type_text(pilot, "lab")
        await key("enter")
        await until(pilot, lambda: "enter starts" in text(pilot))
        assert "landbird: about" in text(pilot) and "pictures to find concepts" in text(pilot)
        await key("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ScreeningScreen))
        await until(pilot, lambda: "Verdict" in text(pilot))
        assert keys <= 12
    [made] = screenings.listed(dashboard(home).browse)
    assert (made["state"], made["class_name"]) == ("done", "landbird")


@driven
async def test_a_refused_answer_returns_to_its_question_with_the_whole_reason(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=(60, 15)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        await type_text(pilot, "lab:birds-biased")
        await press(pilot, "enter")
        await type_text(pilot, "zebra")
        await press(pilot, "enter")
        await until(pilot, lambda: "zebra" in text(pilot))
        shown = " ".join(text(pilot).split())
        assert "question 2 of 3" in shown and "waterbird" in shown
        await press(pilot, "escape")
        assert "question 1 of 3" in text(pilot) and "lab:birds-biased" in text(pilot)
        await press(pilot, "escape", "n")  # not discarded
        assert isinstance(pilot.app.screen, StartScreen)
        await press(pilot, "f4")
        screen = pilot.app.screen
        assert isinstance(screen, NewRunScreen)
        assert screen.wish()["classifier"] == "lab:birds-biased"


@driven
async def test_an_answer_wider_than_its_field_shows_its_end(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        await type_text(pilot, "a" * 90 + "the-end")
        assert "the-end" in text(pilot).splitlines()[3]
        await press(pilot, "home")
        assert text(pilot).splitlines()[3].startswith("│ aaa")


@driven
async def test_answers_typed_ahead_reach_their_questions(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=(120, 40)) as pilot:
        await settle(pilot)
        for key in ("n", *"lab:birds-biased", "enter", *"waterbird", "enter", "enter"):
            name = "colon" if key == ":" else "minus" if key == "-" else key
            pilot.app.post_message(events.Key(name, key if len(key) == 1 else None))
        await until(pilot, lambda: "enter starts" in text(pilot))
        assert pilot.app.screen.wish().answers == ("lab:birds-biased", "waterbird", "lab")  # type: ignore[attr-defined]
        await press(pilot, "escape", "escape", "escape", "escape", "y")
        assert isinstance(pilot.app.screen, HomeScreen)


def test_a_path_is_completed_and_models_are_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "dark.pth").write_bytes(b"no weights")
    (tmp_path / "readme.txt").write_text("text")
    (tmp_path / "hub").symlink_to(tiny.classifier_folder())
    base = str(tmp_path)
    found = model_offers(f"{base}/", ["lab:a"])
    assert found == [
        Offer(f"{base}/dark.pth", "weights"),
        Offer(f"{base}/data/", "folder", opens=True),
        Offer(f"{base}/hub", "Hugging Face model"),
    ]
    assert completed(f"{base}/d", model_offers(f"{base}/d", []), 0) == f"{base}/da"
    assert completed(f"{base}/da", model_offers(f"{base}/da", []), 1) == f"{base}/data/"
    assert model_offers(f"{base}/no/such", [])[0].opens  # no answer
    assert model_offers(f"{base}/drak.pth", []) == [
        Offer(f"{base}/drak.pth", "no such file", opens=True)
    ]
    assert model_offers(f"{base}/readme.txt", []) == [Offer(f"{base}/readme.txt", "as typed")]
    assert model_offers(f"{base}/data/", []) == [
        Offer(f"{base}/data/", "no model here", opens=True)
    ]
    (tmp_path / "net.py").write_text("def make(): ...")
    assert not model_offers(f"{base}/net.py:make", [])[0].opens
    (tmp_path / "model_best.pth.tar").write_bytes(b"no weights")
    assert model_offers(f"{base}/m", [])[0].note == "weights"
    assert model_offers("owner/name", ["lab:a"])[0] == Offer("owner/name", "Hugging Face id")
    assert model_offers("a", ["lab:a"])[0].text == "lab:a"


def test_a_name_is_offered_however_many_files_come_before_it(tmp_path: Path) -> None:
    for at in range(600):
        (tmp_path / f"a{at}").touch()
    (tmp_path / "zebra.pth").write_bytes(b"no weights")
    assert [offer.note for offer in model_offers(f"{tmp_path}/z", [])] == ["weights"]


def test_classes_and_generators_are_offered_with_what_they_are() -> None:
    assert class_offers("1", ["cat", "dog"])[0] == Offer("dog", "class 1")
    assert [offer.text for offer in class_offers("ca", ["cat", "dog"])] == ["cat"]
    assert generator_offers("", lab_model=True)[0].text == "lab"
    own = generator_offers("", lab_model=False)
    assert own[0].text != "lab" and "only to what it can draw" in own[-2].note
    assert generator_offers(str(tiny.generator_folder()), lab_model=False)[0].note == "pipeline"
