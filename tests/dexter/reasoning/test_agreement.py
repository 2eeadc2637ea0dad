"""The agreement of two reports by embeddings and by a judge."""

import pytest
import servers
import tiny

from dexter.errors import InputError
from dexter.reasoning.agreement import JUDGEMENTS, Judge, Sentences, load_sentences
from dexter.reasoning.chat import ChatError, Endpoint


def test_similar_texts_are_nearer_than_others():
    found = Sentences(tiny.masked_lm_folder(), "tiny")
    same, other = found.similarity("a red bird", ["a red bird", "the old sea and the moon"])
    assert same == pytest.approx(1.0, abs=1e-5) and other < same
    assert found.embed(["a red bird"]).shape[0] == 1


def test_an_encoder_that_is_not_there_is_a_line_or_none(tmp_path):
    assert load_sentences("none") is None
    with pytest.raises(InputError, match="sts"):
        load_sentences(str(tmp_path))


def _ratings(*texts):
    def answer(handler, body, number):
        handler.text(texts[(number - 1) % len(texts)])

    return answer


def test_a_judge_is_asked_often_and_its_mean_counts():
    with servers.serving(_ratings("4", "5 out of 5", "no idea")) as log:
        endpoint = Endpoint(log.url, timeout=300.0, pause=0.001)
        rating, count = Judge("a-model", endpoint, "rate").consistency("one", "two")
    assert len(log.requests) == JUDGEMENTS
    assert count < JUDGEMENTS and 4.0 < rating < 5.0
    messages = log.requests[0]["messages"]
    assert messages[0]["content"] == "rate" and "one" in messages[1]["content"]


def test_a_judge_without_a_rating_is_an_error():
    with servers.serving(_ratings("I cannot")) as log:
        endpoint = Endpoint(log.url, timeout=300.0, pause=0.001)
        with pytest.raises(ChatError, match="no rating"):
            Judge("a-model", endpoint, "rate").consistency("one", "two")
