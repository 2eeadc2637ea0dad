"""Markdown reports: what they state, and that no text of a model can format them."""

import os
import resource
import sqlite3
import unicodedata
from contextlib import closing

import pytest
import recorded
import shown_store
from markdown_it import MarkdownIt
from PIL import Image
from small_pictures import plain

from store import State, Store, StoreError, run_queue, study_records
from store.markdown import answer, report
from store.markdown.escaping import printable
from store.reading import card
from store.reading.browse import Browse

HOSTILE = [
    "\x1b[31mred\x1b[0m\x07\x9b2J",
    "[bold red]markup[/bold red] [link=http://evil.example]here[/link]",
    "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;",
    "a | b \\| c \\\\| d",
    "`code` ``` fence ~~~ *em* __strong__ ~~gone~~ $x$ \\",
    "[link](http://evil.example) ![image](http://evil.example/x.png) <http://evil.example>",
    "http://evil.example www.evil.example me@evil.example HTTPS://evil.example",
    "line\nbreak\r\n# heading\n\n- list\n\n| a |\n| --- |\n",
    "\u202eright to left\u200b zero width \ufeff",
    "&#60;b&#62; &lt;i&gt;",
]


def test_only_pictures_that_are_shown_become_files(tmp_path):
    home = shown_store.copy(tmp_path / "home")
    found = card.of_study(Browse(home), shown_store.STUDY)
    assert found is not None
    side = {"prompt": "a duck", "seed": 1, "p": 0.5}
    shown = []

    def show(of):
        shown.append(of)
        return f"![]({len(shown)}.png)"

    pairs = [{"control": side, "treated": side}] * 12
    text = "".join(answer.blocks([found], lambda finding: pairs, show, lambda cards: ""))
    assert shown and [n for n in range(len(shown)) if f"({n + 1}.png)" not in text] == []


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home") as store:
        yield store


def add_study(store, spec="lab:birds-biased", words=("water",), score=0.97, **settings):
    """Add a study with a succeeded run for each word, 3 frames each."""
    classifier = store.ensure_classifier(spec, "ab" * 32, ["waterbird", "landbird", "other"], 64)
    study = store.ensure_study(classifier, "waterbird", 0, {"steps": 60, **settings})
    for seed, word in enumerate(words):
        run = recorded.add_run(store, study, seed, {"preset": "quick"})
        run_queue.claim(store, ids=[run])
        run_queue.set_state(store, run, State.RUNNING)
        recorded.record_steps(
            store,
            run,
            [{"step": n, "losses": {"total": 3.0 / n}, "words": [word]} for n in range(1, 61)],
        )
        prompt = f"a picture of a bird with {word}"
        for noise in range(3):
            recorded.record_frame(
                store,
                run,
                kind="frame",
                seed=noise,
                prompt=prompt,
                predicted_class=0 if noise else 1,
                target_probability=0.9 + noise / 100,
                hit=noise > 0,
                sha256=store.put_artifact(plain((60 * seed, 100 * noise, len(spec))), "image/png"),
            )
        run_queue.finish_run(
            store,
            run,
            State.SUCCEEDED,
            words=[word],
            prompt=prompt,
            word_gains=[
                {"word": word, "gain": 2.0, "low": 1.0, "high": 3.0, "pictures": 8},
                {"word": "frog", "gain": 0.5, "low": -1.0, "high": 2.0, "pictures": 8},
            ],
            score_value=score,
            score_low=0.92,
            score_high=0.99,
            score_n=100,
            frames_hit=50,
            frames_tried=57,
            stop_reason="stable",
        )
    return study


def tokens(text):
    """Return all tokens of the text as GitHub parses it, inline tokens included."""
    return [
        part
        for block in MarkdownIt("gfm-like").parse(text)
        for part in (block, *(block.children or ()))
    ]


def cells(text, head):
    """Return the rows of the first table whose first header cell is `head`."""
    rows: list[list[str]] = []
    row: list[str] = []
    inside = False
    for token in MarkdownIt("gfm-like").parse(text):
        if token.type == "inline" and inside:
            row.append(
                "".join(
                    part.content or str(part.attrGet("src") or "") for part in token.children or ()
                )
            )
        elif token.type == "table_open":
            rows, inside = [], True
        elif token.type == "tr_close":
            rows.append(row)
            row = []
        elif token.type == "table_close":
            if rows[0][0] == head:
                return rows
            inside = False
    raise AssertionError(f"no table {head!r}")


def test_a_report_states_what_was_found(store, tmp_path):
    study = add_study(store, words=["water", "lake"])
    path = report.markdown(store, [study[:5]], tmp_path / "my report.md")
    text = path.read_text()
    assert text.startswith("# What lab:birds-biased looks for in waterbird\n")
    assert "Wilson" in text
    assert "weights abababababab, 64 px" in text
    assert "waterbird, landbird, other" in text
    head, *rows = cells(text, "seed")
    runs = sorted(store.runs(study_id=study), key=lambda run: run.seed)
    assert rows == [
        [
            "0",
            runs[0].id,
            "succeeded",
            "water",
            "water",  # a driver; the frog is none
            "0.97 (0.92 to 0.99)",
            "100",
            "50/57",
            "60",
            "stable",
        ],
        [
            "1",
            runs[1].id,
            "succeeded",
            "lake",
            "lake",
            "0.97 (0.92 to 0.99)",
            "100",
            "50/57",
            "60",
            "stable",
        ],
    ]
    assert len(head) == len(rows[0])
    assert head[4] == "drivers"
    assert "p(class) = 0.9" in text
    assert "3.000 to 0.050" in text
    assert "# Summary" not in text
    images = [token.attrGet("src") for token in tokens(text) if token.type == "image"]
    assert len(images) == 4  # the hits
    for source in images:
        folder, name = source.split("/")
        assert folder == "my%20report_files"
        file = tmp_path / "my report_files" / name
        assert Image.open(file).size == (192, 192)
    assert "a picture of a bird with lake" in text
    assert "classified as landbird" not in text
    assert ["steps", "60"] in cells(text, "setting")


def test_a_picture_without_a_label_is_not_said_to_show_another(store, tmp_path):
    study = add_study(store, multi_label=True)
    with closing(sqlite3.connect(store.home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE frame SET hit = 0, predicted_class = 1")
        answers = connection.execute("SELECT DISTINCT taken_for FROM frames_all").fetchall()
    assert answers == [("not waterbird",)]
    text = report.markdown(store, [study], tmp_path / "report.md").read_text()
    assert "classified as not waterbird" in text and "classified as landbird" not in text


def test_several_studies_begin_with_a_summary(store, tmp_path):
    biased = add_study(store, "lab:birds-biased", ["water", "sea"])
    balanced = add_study(store, "lab:birds-balanced", ["duck"], score=0.5)
    text = report.markdown(store, [biased, balanced], tmp_path / "report.md").read_text()
    assert cells(text, "classifier")[1:] == [
        [
            "lab:birds-biased",
            "waterbird",
            "0: water; 1: sea",
            "0.97 (0.97 to 0.97)",
            "2 of 2 scored",
        ],
        ["lab:birds-balanced", "waterbird", "0: duck", "0.50 (0.50 to 0.50)", "1 of 1 scored"],
    ]
    assert text.index("### Summary") < text.index("### lab:birds-biased: waterbird")
    assert f"Same as study {biased}." in text


def test_single_runs_can_be_chosen(store, tmp_path):
    study = add_study(store, words=["water", "sea", "lake"])
    runs = sorted(store.runs(study_id=study), key=lambda run: run.seed)
    path = report.markdown(store, [runs[2].id, runs[0].id, runs[0].id], tmp_path / "report.md")
    assert [row[1] for row in cells(path.read_text(), "seed")[1:]] == [runs[0].id, runs[2].id]


def test_only_what_differs_from_the_preset_is_shown(store, tmp_path):
    presets = {"quick": {"steps": 60, "batch": 4}}
    plain = add_study(store, batch=4)
    text = report.markdown(store, [plain], tmp_path / "a.md", presets=presets).read_text()
    assert "Preset quick.\n" in text
    other = add_study(store, batch=8)
    text = report.markdown(store, [other], tmp_path / "b.md", presets=presets).read_text()
    assert cells(text, "setting")[1:] == [["batch", "8"]]


def test_a_run_that_found_nothing_yet_can_be_exported(store, tmp_path):
    classifier = store.ensure_classifier("lab:birds", None, ["a"], 64)
    run = recorded.add_run(store, store.ensure_study(classifier, "a", 0, {}), 0, {})
    path = report.markdown(store, [run], tmp_path / "report.md")
    text = path.read_text()
    assert "queued" in text
    assert "No frames yet." in text
    assert "weights unknown" in text
    assert not (tmp_path / "report_files").exists()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_of_a_model_formats_the_report(store, tmp_path, hostile):
    study = add_study(store, spec=f"python:{hostile}", words=[hostile], template=hostile)
    other = add_study(store, words=[hostile])
    text = f"{hostile}\n```\n# out of the fence\n"
    study_records.add_report(store, study, author=hostile, markdown=text, body=None)
    text = report.markdown(store, [study, other], tmp_path / "report.md").read_text()
    assert not [
        char for char in text if unicodedata.category(char).startswith("C") and char != "\n"
    ]
    found = tokens(text)
    assert {token.content for token in found if token.type == "html_inline"} == {"<br>"}
    forbidden = {"html_block", "link_open", "em_open", "strong_open", "s_open"}
    assert not forbidden & {token.type for token in found}
    assert all(
        token.attrGet("src").startswith("report_files/") for token in found if token.type == "image"
    )
    headings = [token.tag for token in found if token.type == "heading_open"]
    assert headings.count("h1") == 1
    assert headings.count("h2") == 2
    assert len([token for token in found if token.type == "fence"]) == 3  # 2 trends, 1 report
    for head in ("classifier", "seed", "setting"):
        rows = cells(text, head)
        assert {len(row) for row in rows} == {len(rows[0])}
    shown = " ".join(printable(hostile).split())
    assert cells(text, "seed")[1][3] == shown


def test_an_export_replaces_the_one_before(store, tmp_path):
    add_study(store, words=["water", "sea"])
    first, second = store.runs()
    path = tmp_path / "report.md"
    report.markdown(store, [first.id, second.id], path)
    note = tmp_path / "report_files" / "note.txt"
    note.write_text("mine")
    report.markdown(store, [first.id], path)
    assert len(list((tmp_path / "report_files").glob("*.png"))) == 2
    assert note.read_text() == "mine"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_cannot_be_exported_is_refused(store, tmp_path):
    study = add_study(store)
    with pytest.raises(StoreError, match="no run 'nothing'"):
        report.markdown(store, ["nothing"], tmp_path / "report.md")
    with pytest.raises(StoreError, match="missing: no such folder; create it"):
        report.markdown(store, [study], tmp_path / "missing" / "report.md")
    with pytest.raises(StoreError, match="this is a folder; name a file"):
        report.markdown(store, [study], tmp_path)
    (tmp_path / "report_files").write_text("a file in the way")
    with pytest.raises(StoreError, match="report_files"):
        report.markdown(store, [study], tmp_path / "report.md")
    assert not (tmp_path / "report.md").exists()


def test_a_full_disk_leaves_no_half_report(store, tmp_path):
    study = add_study(store)
    folder = tmp_path / "out"
    folder.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # pictures fit, the text does not
    try:
        with pytest.raises(StoreError, match=r"report\.md: the disk is full"):
            report.markdown(store, [study], folder / "report.md")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder.iterdir()) == []


def test_a_damaged_picture_is_named(store, tmp_path):
    study = add_study(store)
    frame = store.frames(store.runs()[0].id)[1]
    store.artifact_path(frame.sha256).write_bytes(b"damaged")
    with pytest.raises(StoreError, match=f"{frame.sha256}: damaged"):
        report.markdown(store, [study], tmp_path / "report.md")


def test_a_trend_is_drawn_as_bars():
    assert report.sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert report.sparkline([2.0, 2.0]) == "▁▁"
    assert len(report.sparkline([float(number) for number in range(1000)])) == 40
