"""Captions from endpoints of language models that answer well, badly or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest
import servers
from small_pictures import plain

from dexter.errors import InputError
from dexter.reasoning.captions import MAX_CHARACTERS, RemoteCaptioner
from dexter.reasoning.chat import Answer, ChatError, Endpoint, in_parallel, read_key
from dexter.reasoning.settings import ReportSettings

KEY = "sk-secret-0123456789"


def fine(handler: servers.Handler, body: dict[str, Any], number: int) -> None:
    handler.text(f"caption {number}", prompt_tokens=7, completion_tokens=3)


def endpoint(url: str, **changes: Any) -> Endpoint:
    return Endpoint(url, key=KEY, **{"timeout": 300.0, "pause": 0.001, **changes})


def ask(url: str, **changes: Any) -> Answer:
    return endpoint(url, **changes).complete(
        "a-model", [{"role": "user", "content": "hello"}], max_tokens=5
    )


def test_a_question_is_repeated_as_it_was() -> None:
    with servers.serving(servers.first(servers.half, servers.garbage, then=fine)) as log:
        answer = ask(log.url)
    assert answer == Answer("caption 3", 7, 3)
    assert len(log.requests) == 3
    assert log.requests[0] == log.requests[2]
    assert set(log.paths) == {"/v1/chat/completions"}
    assert set(log.keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "fault",
    [
        servers.status(429, Retry_After_Ms="1"),
        servers.garbage,
        servers.first(servers.nothing, then=servers.garbage),
    ],
)
def test_tries_have_an_end(fault: servers.Answer) -> None:
    with servers.serving(fault) as log, pytest.raises(ChatError, match=r"3 tries") as failure:
        ask(log.url, tries=3)
    assert len(log.requests) == 3
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("code", [400, 401, 404])
def test_a_refusal_is_not_tried_again_and_the_key_is_not_repeated(code: int) -> None:
    refusal = servers.status(code, f"bad key {KEY}\x1b[31m\nsecond line")
    with servers.serving(refusal) as log, pytest.raises(ChatError) as failure:
        ask(log.url)
    assert len(log.requests) == 1
    assert str(code) in str(failure.value)
    assert KEY not in str(failure.value)
    assert str(failure.value).isprintable()


def test_the_key_does_not_follow_a_redirect() -> None:
    with servers.serving(fine) as other:
        there = servers.status(307, Location=other.url + "/chat/completions")
        with servers.serving(there) as log, pytest.raises(ChatError, match="307"):
            ask(log.url)
    assert not other.requests


def test_an_endpoint_that_is_not_there_is_reported() -> None:
    with servers.serving(fine) as log:
        url = log.url
    with pytest.raises(ChatError, match="cannot be reached"):
        ask(url, tries=2)


def test_an_endless_reply_is_not_read() -> None:
    def endless(handler: servers.Handler, _body: dict[str, Any], _number: int) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            handler.wfile.write(b" " * 65536)

    with servers.serving(endless) as log, pytest.raises(ChatError, match="longer than"):
        ask(log.url)


def test_pictures_are_captioned_some_at_a_time() -> None:
    with servers.serving(fine) as log:
        captioner = RemoteCaptioner("eyes", "describe", endpoint(log.url), concurrency=3)
        captions = sorted(
            captioner.caption([plain((i, 0, 0)) for i in range(12)]), key=lambda c: c.index
        )
    assert [caption.index for caption in captions] == list(range(12))
    assert {(c.input_tokens, c.output_tokens) for c in captions} == {(7, 3)}
    assert captioner.failure is None
    assert 1 <= log.most <= 3
    request = log.requests[0]
    assert request["model"] == "eyes"
    assert request["messages"][0] == {"role": "system", "content": "describe"}
    [part] = request["messages"][1]["content"]
    assert part["image_url"]["url"].startswith("data:image/png;base64,")


def test_an_endpoint_that_is_down_is_not_asked_for_ever() -> None:
    with servers.serving(servers.first(fine, fine, then=servers.status(500))) as log:
        captioner = RemoteCaptioner("eyes", "describe", endpoint(log.url, tries=1), concurrency=1)
        captions = list(captioner.caption([plain((i, 0, 0)) for i in range(50)]))
    assert len(captions) == 2
    assert len(log.requests) == 5
    assert captioner.failure is not None
    assert "500" in captioner.failure


def test_a_monstrous_caption_is_tamed() -> None:
    def monstrous(handler: servers.Handler, _body: dict[str, Any], _number: int) -> None:
        handler.text("\x1b[2Jboo\x07 \u202e" + "x" * 1_000_000)

    with servers.serving(monstrous) as log:
        [caption] = RemoteCaptioner("eyes", "", endpoint(log.url)).caption([plain()])
    assert len(caption.text) <= MAX_CHARACTERS
    assert caption.text.isprintable()
    assert caption.text.startswith("[2Jboo x")


def test_a_defect_is_not_taken_for_a_failure_of_the_endpoint() -> None:
    def broken(item: int) -> int:
        raise KeyError(item)

    with pytest.raises(KeyError):
        list(in_parallel(broken, [1, 2], 2))


def test_the_key_comes_from_the_environment_or_a_file_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert read_key() is None
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert read_key() == KEY
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_key(file)
    file.chmod(0o600)
    assert read_key(file) == KEY
    for bad in ("", "two lines\nof it", "clé", "k" * 5000):
        file.write_text(bad)
        with pytest.raises(InputError) as refused:
            read_key(file)
        assert refused.value.field == "key_file"
        assert not bad or bad not in str(refused.value)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(InputError, match="no plain file"):
        read_key(pipe)
    monkeypatch.setenv("OPENAI_API_KEY", "clé\n")
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        read_key()
    with pytest.raises(InputError, match="cannot read"):
        read_key(tmp_path / "none")
    assert KEY not in repr(Endpoint(key=KEY))


def test_models_are_local_unless_an_address_is_given() -> None:
    own = ReportSettings().for_generator("lab")
    assert (own.vlm, own.image_text, own.llm) == ("lab", "lab", "none")
    other = ReportSettings().for_generator("some/model")
    assert (other.vlm, other.image_text) == ("none", "openai/clip-vit-base-patch32")
    asked = ReportSettings(base_url="http://h/v1", vlm="eyes", llm="pen").for_generator("lab")
    assert (asked.vlm, asked.llm) == ("openai:eyes", "openai:pen")
    partly = ReportSettings(base_url="http://h/v1", llm="pen").for_generator("lab")
    assert (partly.vlm, partly.llm) == ("lab", "openai:pen")
    with pytest.raises(InputError, match="min_effect: 2 is out of range") as refused:
        ReportSettings.from_values({"min_effect": "2"})
    assert (refused.value.field, refused.value.value) == ("min_effect", "2")
