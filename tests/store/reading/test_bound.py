"""The bound of a study by embeddings, in every view of it."""

import recorded
from report_study import add_embeddings, add_study

from dexter_tui.presentation.study_tables import study_json
from store import Store
from store.markdown.report import render
from store.reading.bound import bound
from store.reading.browse import Browse


def test_a_study_of_words_is_bounded_by_one_of_embeddings(home):
    words = add_study(home)
    with Store.open(home) as store:
        assert bound(Browse(home), words) is None
        add_embeddings(store, words, template="a picture of a [MASK]")  # another question
        assert bound(Browse(home), words) is None
        embeddings = add_embeddings(store, words)
        found = bound(Browse(home), words)
        assert found is not None
        assert (found.words.score, found.embeddings.score) == (0.6, 0.8)  # the best of two seeds
        assert found.share == 0.6 / 0.8
        assert bound(Browse(home), embeddings) == found
        line = "Words reach 0.75 of the score of the best embeddings that were found."
        assert found.lines()[0] == line
        page, _ = render(store, [words], "files")
        assert "#### Bound" in page and line in page and "≈lake, ≈red" in page
        shown = study_json(store, store.study(words))["bound"]
        assert shown["share"] == found.share and shown["embeddings"]["study"] == embeddings
        [run] = store.runs(study_id=embeddings)
        assert run.text_prompt is None and run.words_worth_testing == []


def test_a_bound_below_the_words_says_that_it_is_none(home):
    words = add_study(home)
    with Store.open(home) as store:
        study = add_embeddings(store, words)
        [run] = store.runs(study_id=study)
        recorded.update_run(store, run.id, score_value=0.1)
    found = bound(Browse(home), words)
    assert found is not None and "no bound" in found.lines()[0]


def test_embeddings_of_the_output_name_the_words_that_they_started_from(home):
    words = add_study(home)
    with Store.open(home) as store:
        add_embeddings(store, words, embeddings="output")
    found = bound(Browse(home), words)
    assert found is not None and "which started from these words" in found.lines()[-1]
