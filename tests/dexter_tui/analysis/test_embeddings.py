"""A search for embeddings through every view: run, report, show, the dashboard and exports."""

import pytest
import short_run
import tiny
from piloting import dashboard, driven, press, settle, text
from report_study import add_embeddings, add_study, options

from dexter_tui.dashboard.screens.study import StudyScreen
from store import Store

pytestmark = pytest.mark.long


def flags(**changes: object) -> list[str]:
    values = {
        **short_run.settings(),
        "class_name": "waterbird",
        "template": "a picture of a bird with [MASK] and [MASK]",
        "steps": 4,
        **changes,
    }
    values["class"] = values.pop("class_name")
    return short_run.flags(values)


def test_embeddings_are_reported_beside_words(cli, home, tmp_path):
    [words] = cli("run", *flags(), "--json").json
    [embeddings] = cli("run", *flags(search="continuous"), "--json").json
    assert embeddings["search"] == "continuous" and words["search"] == "words"
    assert embeddings["study"] != words["study"]
    shown = cli("show", embeddings["id"], "--json").json
    assert {step["entropy"] for step in shown["history"]} == {None}
    assert [len(prompt["words"]) for prompt in shown["prompts"]] == [2] * len(shown["prompts"])

    result = cli("report", embeddings["study"], *options(vlm=tiny.captioner_folder()), "--json")
    assert result.code == 0, result.err
    found = result.json
    assert {stage["state"] for stage in found["stages"]} == {"done"}
    assert found["attribution"] == []  # which is of words
    assert "prompt" not in {score["kind"] for score in found["scores"]}
    [report] = found["reports"]
    assert "words of" not in report["body"]["method"][0]
    sections = {one["title"]: one["sentences"] for one in report["body"]["sections"]}
    score = embeddings["activation_score"]["value"], words["activation_score"]["value"]
    assert len(sections["Bound"]) == 3
    assert embeddings["id"] in sections["Bound"][2]["text"]

    bound = cli("show", words["study"], "--json").json["bound"]
    assert (bound["embeddings"]["score"], bound["words"]["score"]) == score
    assert bound["lines"][1] in cli("show", words["study"]).out.replace("\n", " ")
    for name in ("r.md", "r.html"):
        assert cli("export", words["study"], "-o", tmp_path / name).code == 0
        assert "Embeddings: " in (tmp_path / name).read_text()
    with Store.open(home) as store:
        frames = store.frames(embeddings["id"], kind="frame")
        assert {frame.prompt for frame in frames} == {store.run(embeddings["id"]).prompt}


@driven
async def test_the_page_of_words_shows_the_bound(home):
    words = add_study(home)
    with Store.open(home) as store:
        add_embeddings(store, words)
    async with dashboard(home).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        pilot.app.push_screen(StudyScreen(words))
        await settle(pilot)
        await press(pilot, "4")
        shown = text(pilot)
        assert "Words beside embeddings" in shown
        assert "Words reach 0.75 of the score of the best embeddings that were found." in shown
        assert "≈lake, ≈red" in shown
