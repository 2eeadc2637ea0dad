"""Questions in free words about a screening, in the dashboard, on tiny models."""

from pathlib import Path

import pytest
import shown_store
import tiny_screening
from piloting import dashboard, driven, press, settle, text, until
from textual import events
from textual.pilot import Pilot

from dexter_tui.dashboard.screens.screening.page import ScreeningScreen
from store import Store, run_queue, screening_records, study_records
from store.locks import FileLock
from store.states import Kind


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier, net.py, and a home with its screening."""
    folder = tmp_path_factory.mktemp("questions")
    tiny_screening.screen(folder / "home", tiny_screening.options(folder))
    return folder


async def ask(pilot: Pilot[None], question: str) -> None:
    """Type a question without waiting between its letters."""
    for letter in question:
        pilot.app.post_message(events.Key(letter, letter))
    pilot.app.post_message(events.Key("enter", None))
    await settle(pilot)


@driven
async def test_questions_are_answered_and_probed_beside_a_screening(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, net = made / "home", made / "net.py"
    monkeypatch.setenv("DEXTER_HOME", str(home))
    monkeypatch.setenv("DEXTER_CPU_SLOTS", "1")
    async with dashboard(home).run_test(notifications=True, size=(200, 50)) as pilot:
        net.rename(made / "gone.py")  # only units need the classifier
        await press(pilot, "i", "enter", "a", "enter")
        assert "nothing is asked: type a text, such as" in text(pilot)
        await ask(pilot, "a young cat with sea")  # while the models load
        await ask(pilot, "zebra")
        await ask(pilot, "unit 0")
        await until(pilot, lambda: "no Python file" in text(pilot))
        (made / "gone.py").rename(net)
        await ask(pilot, "unit 0")
        await ask(pilot, "unit 7")
        await until(pilot, lambda: "has units 0 to 0, got 7" in text(pilot))
        lines = text(pilot).splitlines()
        [sea] = [line for line in lines if "a young cat with sea" in line]
        assert " to " in sea and "against a young cat" in sea
        assert any("unit 0" in line and "no concept of the pool" in line for line in lines)
        await press(pilot, "f5")
        assert "nothing to probe: select an answer to a text" in text(pilot)
        await press(pilot, "down", "down", "down")
        assert "no word of it is in the pool" in text(pilot)
        assert "no subject to compare with" in text(pilot)
        assert "Guessed from 80 pictures" in text(pilot)
        await press(pilot, "f6")
        assert "no word of it is in the pool" in pilot.app.clipboard

        await press(pilot, "down")
        with FileLock(home / "locks" / "runner-cpu-0.lock", wait=False):  # nothing is worked on
            for _ in range(2):  # the second is too much
                pilot.app.post_message(events.Key("f5", None))
            await until(pilot, lambda: "probe: queued" in text(pilot))
            with Store.open(home) as store:
                [job] = [one for one in run_queue.jobs(store) if one.kind is Kind.PROBE]
                assert job.request["text"] == "a young cat with sea"
                study_records.add_probe(
                    store, classifier_id=1, class_name="cat", class_index=0, question="q",
                    control="c", treated="t", job_id=job.id,
                    claim=shown_store.claim("sea", 0.31, "confirmed"),
                )  # fmt: skip
            await until(pilot, lambda: "on pictures: +0.31" in text(pilot))
        assert "+0.31 [+0.25, +0.37], 128 pairs of pictures" in text(pilot)

        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, ScreeningScreen)


@driven
async def test_without_answers_or_with_damage_there_is_a_line(tmp_path: Path) -> None:
    home = shown_store.copy(tmp_path / "home")
    shown_store.screen(home)  # whose classifiers have no settings
    with Store.open(home) as store:
        member = {"name": "lab:new", "classifier_id": 1, "class_index": 0, "config": {}}
        screening_records.add_screening(store, "bank", "waterbird", {}, [member])
    async with dashboard(home).run_test(notifications=True, size=(120, 40)) as pilot:
        await press(pilot, "i", "enter", "a")
        assert "lab:new has no answers yet" in text(pilot)
        await press(pilot, "escape", "down", "enter", "a")
        await until(pilot, lambda: "the process that answers ended with 1" in text(pilot))
        await ask(pilot, "a duck")
        assert text(pilot).count("the process that answers ended with 1") > 1
