"""A search that lowers the class names a subject of it, and every view of it says so."""

import pytest
from rich.console import Console

from dexter.config import RunConfig
from dexter_tui.dashboard.widgets.run_list import template_text
from dexter_tui.jobs import submit
from dexter_tui.presentation import run_tables
from store import Store
from store.markdown.report import render


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("single", "a picture of a duck with [MASK]."),
        ("multi", "a picture of a duck with [MASK] and [MASK] and [MASK] and [MASK] and [MASK]."),
        ("a duck in [MASK]", "a duck in [MASK]"),
    ],
)
def test_a_shipped_template_names_the_class(home, template, text):
    config = RunConfig.from_preset(
        "quick",
        classifier="lab:birds-biased",
        class_name="waterbird",
        direction="lower",
        template=template,
        exclude_words=("sea",),
    )
    [checked] = submit.check([config], home)
    assert checked.config.template == text
    assert {"sea", "crow", "goose"} <= set(checked.config.exclude_words)
    assert "desert" not in checked.config.exclude_words


def test_the_record_and_its_views_say_which_direction_was_searched(home):
    config = RunConfig.from_preset(
        "quick", classifier="lab:birds-biased", class_name="waterbird", direction="lower"
    )
    usual = config.model_copy(update={"direction": "raise"})
    with Store.open(home) as store:
        names = submit.add(store, submit.check([config, usual], home))
        lower, upper = map(store.run, names)
        assert lower.study_id != upper.study_id
        assert lower.study.settings["direction"] == "lower"
        assert "direction" not in upper.study.settings  # as studies of earlier versions
        shown = run_tables.run_view(store, lower, pictures=False)
        page, _ = render(store, [lower.study_id], "files")
        assert [run_tables.run_json(run)["direction"] for run in (lower, upper)] == [
            "lower",
            "raise",
        ]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(shown)
    line = "words that lower it: a picture of a duck with [MASK]."
    assert line in captured.get()
    assert template_text(lower.study.settings) == line
    assert "waterbird (index 0), to be lowered" in page
