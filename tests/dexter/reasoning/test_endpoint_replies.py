"""A table of what endpoints send instead of a plain chat completion, and what becomes of it."""

import email.utils
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import servers
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Answer, Handler, body, first, status

from dexter.errors import InputError
from dexter.reasoning import chat
from dexter.reasoning.endpoints.dialects import Reading, Unusable, join_stream, read_completion
from dexter.reasoning.settings import ReportSettings

KEY = "sk-secret-0123456789"
DUCK = "A duck on a lake."
SOON = {"Retry_After_Ms": "1"}  # a header that the openai client obeys


def message(content: Any, finish: str | None = "stop", **more: Any) -> Answer:
    """A completion with this content."""
    choice = {"message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    return body({"choices": [choice]})


def refusing(*names: str, **more: Any) -> Answer:
    """An endpoint that refuses requests with these parameters, one at a time, by name."""

    def answer(handler: Handler, asked: dict[str, Any], number: int) -> None:
        for name in names:
            if name in asked:
                error = {"message": f"Unsupported value: '{name}'", "param": name, **more}
                return body({"error": error}, 400)(handler, asked, number)
        handler.text(DUCK)

    return answer


def unless(test: Callable[[dict[str, Any]], bool], refusal: Answer, then: Answer) -> Answer:
    """An endpoint that refuses requests for which a test fails."""

    def answer(handler: Handler, asked: dict[str, Any], number: int) -> None:
        (then if test(asked) else refusal)(handler, asked, number)

    return answer


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def stream(*events: Any, done: bool = True, kind: str = "text/event-stream") -> Answer:
    """Server-sent events of these chunks."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return body("".join([*lines, "data: [DONE]\n\n" * done]).encode(), Content_Type=kind)


CHUNKS = [chunk(role="assistant"), chunk(content="A duck "), chunk(content="on a lake.")]


def ask(url: str, **changes: Any) -> str:
    endpoint = chat.Endpoint(
        url, **{"key": KEY, "timeout": 20.0, "tries": 2, "pause": 0.01, **changes}
    )
    question = [{"role": "system", "content": "describe"}, chat.picture_message(b"png")]
    return endpoint.complete("model", question, max_tokens=120).text


ANSWERED: dict[str, tuple[Answer, int]] = {
    "plain": (message(DUCK), 1),
    "max_tokens refused": (refusing("max_tokens"), 2),
    "temperature refused": (refusing("temperature"), 2),
    "both refused": (refusing("max_tokens", "temperature"), 3),
    "any token limit refused": (refusing("max_tokens", "max_completion_tokens"), 3),
    "refused by text alone": (
        unless(
            lambda asked: "max_tokens" not in asked,
            body({"detail": [{"loc": ["body", "max_tokens"], "msg": "extra fields"}]}, 422),
            message(DUCK),
        ),
        2,
    ),
    "refused within a 200": (
        unless(
            lambda asked: "temperature" not in asked,
            body({"error": {"message": "temperature must be 1"}}),
            message(DUCK),
        ),
        2,
    ),
    "system role refused": (
        unless(
            lambda asked: (
                asked["messages"][0]["content"][0] == {"type": "text", "text": "describe"}
            ),
            status(400, "System role not supported"),
            message(DUCK),
        ),
        2,
    ),
    "only streams, refused": (
        unless(
            lambda asked: asked.get("stream") is True,
            status(400, "This model only supports stream mode"),
            stream(*CHUNKS, chunk("stop")),
        ),
        2,
    ),
    "only streams": (stream(*CHUNKS, chunk("stop")), 1),
    "a stream without a reason for its end": (stream(*CHUNKS), 1),
    "a stream without its last line": (stream(*CHUNKS, chunk("stop"), done=False), 1),
    "a stream of another content type": (stream(*CHUNKS, kind="text/plain"), 1),
    "a stream with comments": (
        body(
            b": ping\r\n\r\nevent: message\r\ndata: "
            + json.dumps(chunk("stop", content=DUCK)).encode()
            + b"\r\n\r\ndata: [DONE]\r\n\r\n"
        ),
        1,
    ),
    "a stream without its last line break": (
        body(b"data: " + json.dumps(chunk("stop", content=DUCK)).encode()),
        1,
    ),
    "a stream that breaks off": (first(stream(*CHUNKS, done=False), then=message(DUCK)), 2),
    "a stream with thoughts": (
        stream(chunk(content="<thi"), chunk(content="nk>a dog?</think>"), *CHUNKS),
        1,
    ),
    "parts": (
        message([{"type": "text", "text": "A duck "}, {"type": "text", "text": "on a lake."}]),
        1,
    ),
    "parts without a space": (message([{"type": "text", "text": "A duck"}, "on a lake."]), 1),
    "a part of thoughts": (
        message([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": DUCK}]),
        1,
    ),
    "thoughts": (message(f"<think>\nA dog?\n</think>\n\n{DUCK}"), 1),
    "thoughts without their beginning": (message(f"A dog?\n</think>\n\n{DUCK}"), 1),
    "thoughts behind": (message(f"{DUCK}\n<think>or a dog"), 1),
    "thoughts within thoughts": (message(f"<think>a<think>b</think>c</think>{DUCK}"), 1),
    "thoughts of other makers": (message(f"[THINK]a[/THINK]◁think▷b◁/think▷{DUCK}"), 1),
    "channels": (
        message(
            f"<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>{DUCK}<|return|>"
        ),
        1,
    ),
    "an answer in tags": (message(f"<think>a dog?</think><answer>{DUCK}</answer>"), 1),
    "thoughts in a field of their own": (message(DUCK, reasoning_content="a dog?"), 1),
    "thoughts use up the limit": (
        unless(
            lambda asked: asked["max_tokens"] > 4000,
            message(None, "length", reasoning_content="well"),
            message(DUCK),
        ),
        2,
    ),
    "open thoughts use up the limit": (
        unless(
            lambda asked: asked["max_tokens"] > 4000,
            message("<think>well", "length"),
            message(DUCK),
        ),
        2,
    ),
    "null content": (first(message(None), then=message(DUCK)), 2),
    "no choices": (first(body({"choices": []}), then=message(DUCK)), 2),
    "an overload within a 200": (
        first(body({"error": {"message": "overloaded", "code": 503}}), then=message(DUCK)),
        2,
    ),
    "no JSON": (first(servers.garbage, then=message(DUCK)), 2),
    "half a reply": (first(servers.half, then=message(DUCK)), 2),
    "no reply": (first(servers.nothing, then=message(DUCK)), 2),
    "500 twice": (first(*[status(500, **SOON)] * 2, then=message(DUCK)), 3),
    "429": (first(status(429, **SOON), then=message(DUCK)), 2),
    "null error": (body({"error": None, "choices": [{"message": {"content": DUCK}}]}), 1),
    "a byte order mark": (
        body(b"\xef\xbb\xbf" + json.dumps({"choices": [{"message": {"content": DUCK}}]}).encode()),
        1,
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_an_answer_is_found(name: str) -> None:
    answer, requests = ANSWERED[name]
    with servers.serving(answer) as log:
        assert ask(log.url, tries=3) == DUCK
    assert len(log.requests) == requests


SPENT = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
FAILING: dict[str, tuple[Answer, int, str]] = {
    "spent quota": (body({"error": SPENT}, 429), 1, "status 429: You exceeded.*add credit"),
    "spent quota within a 200": (
        body({"error": {**SPENT, "status": 429}}),
        1,
        "your current quota",
    ),
    "no key": (status(401, "who are you"), 1, "status 401: who are you; check the key"),
    "no such model": (status(404, "no model"), 1, "status 404: no model; check --base-url and"),
    "a page": (body(b"<html>Not here</html>", 404), 1, "status 404: an HTML page"),
    "a page of status 200": (body(b"<html>Hello"), 2, "reply is an HTML page .2 tries.; check"),
    "a text": (body(b"model is loading", 503, **SOON), 2, "503: model is loading .2 tries.; try"),
    "a list": (body([1, 2]), 2, "no chat completion"),
    "another object": (body({"hello": 1}), 2, "no chat completion"),
    "deep nesting": (body(b"[" * 100_000), 2, "not JSON"),
    "an error within a 200": (body({"error": "bad picture"}), 1, "error: bad picture"),
    "an error within a choice": (
        body({"choices": [{"error": {"message": "gone", "code": 400}}]}),
        1,
        "error: gone",
    ),
    "an error within a stream": (
        stream(CHUNKS[0], {"error": {"message": "gone"}}),
        1,
        "error: gone",
    ),
    "a stream of nonsense": (body(b"data: {\n\ndata: [DONE]\n\n"), 2, "stream is not JSON"),
    "a stream cut off": (stream(*CHUNKS, done=False), 2, "stream broke off"),
    "a refusal": (message(None, refusal="I cannot see people"), 1, "refuses: I cannot see people"),
    "a refusal in a part": (
        message([{"type": "refusal", "refusal": "I won't"}]),
        1,
        "refuses: I won't",
    ),
    "a refusal in a stream": (stream(chunk("stop", refusal="No")), 1, "refuses: No"),
    "a filtered answer": (message(None, "content_filter"), 1, "content filter"),
    "nothing but thoughts": (
        message("<think>for ever", "length"),
        2,
        "thoughts of model use up 4216 tokens; use a model that thinks less",
    ),
    "blank": (message(" \n"), 2, "holds no text"),
    "no message": (body({"choices": [{}]}), 2, "holds no text"),
    "null": (body(b"null"), 2, "not JSON|no chat completion"),
    "too long": (body(b" " * 9_000_000), 1, "longer than"),
    "packed": (body(b"\x1f\x8b", Content_Encoding="gzip"), 1, "packed"),
    "a long wait": (status(429, "slow down", Retry_After="7200"), 1, "Retry-After: 7200"),
    "a redirect": (status(307, Location="/elsewhere"), 1, "status 307"),
    "the key": (
        status(400, f"\x1b[31mbad key\n{KEY[:9]}\u200b{KEY[9:]} Bearer {'x' * 20}"),
        1,
        "bad key",
    ),
    "the key at the cut": (status(400, "x" * 280 + KEY), 1, r"x\[key\]"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_reply_without_an_answer_is_one_clear_line(name: str) -> None:
    answer, requests, said = FAILING[name]
    with servers.serving(answer) as log, pytest.raises(chat.ChatError, match=said) as failure:
        ask(log.url)
    line = str(failure.value)
    assert line.startswith(f"{log.url}: ")
    assert line.isprintable()
    assert len(line) < 600
    assert "sk-" not in line
    assert len(log.requests) == requests


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    """In seconds, and as a date."""
    came: list[float] = []

    def busy(handler: Handler, asked: dict[str, Any], number: int) -> None:
        came.append(time.time())
        later = email.utils.formatdate(time.time() + 2, usegmt=True)
        wait = {1: "1", 2: later}.get(number)
        reply = message(DUCK) if wait is None else status(429, Retry_After=wait)
        reply(handler, asked, number)

    with servers.serving(busy) as log:
        assert ask(log.url, tries=3) == DUCK
    assert came[1] - came[0] >= 1
    assert came[2] - came[1] >= 1  # dates have no fractions of a second


def test_what_a_model_takes_is_learned_once() -> None:
    with servers.serving(refusing("max_tokens", "temperature")) as log:
        endpoint = chat.Endpoint(log.url)
        for _ in range(3):
            endpoint.complete("new", [{"role": "user", "content": "x"}], max_tokens=5)
    assert len(log.requests) == 5
    assert log.requests[-1] == {
        "model": "new",
        "messages": [{"role": "user", "content": "x"}],
        "max_completion_tokens": 5,
    }


def test_the_tokens_of_all_replies_to_a_question_are_counted() -> None:
    def thinking(handler: Handler, asked: dict[str, Any], number: int) -> None:
        text = DUCK if number > 1 else "<think>"
        handler.text(text, prompt_tokens=7, completion_tokens=100 * number)

    with servers.serving(thinking) as log:
        endpoint = chat.Endpoint(log.url)
        answer = endpoint.complete("m", [{"role": "user", "content": "x"}], max_tokens=5)
    assert (answer.input_tokens, answer.output_tokens) == (14, 300)


def test_the_key_is_removed_from_answers() -> None:
    with servers.serving(message(f"the key is {KEY[:5]}\n{KEY[5:]}, and none other")) as log:
        assert ask(log.url) == "the key is [key], and none other"
    with servers.serving(message("a road with none on it")) as log:
        assert ask(log.url, key="none") == "a road with none on it"  # a stand-in, no secret


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "error": (b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    "events": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        b'data: {"choices": [{"delta": {"content": "more"}}]}\n\n',
    ),
    "silence": (b"", b""),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_reply_that_drips_ends_with_the_timeout(name: str) -> None:
    over = threading.Event()

    def drip(handler: Handler, _body: dict[str, Any], _number: int) -> None:
        handler.drip(*DRIPS[name], over)

    timed_out = r"timed out: no whole reply within 0\.3 s; raise --timeout"
    with servers.serving(drip) as log, pytest.raises(chat.ChatError, match=timed_out):
        try:
            ask(log.url, tries=1, timeout=0.3)
        finally:
            over.set()


CERTIFICATE = Path(__file__).parents[2] / "data" / "tls" / "self-signed.pem"


def test_a_certificate_of_ones_own_is_refused_with_the_remedy() -> None:
    with servers.serving(message(DUCK), CERTIFICATE) as log:
        with pytest.raises(chat.ChatError) as failure:
            ask(log.url, tries=1)
        line = str(failure.value)
        assert line.startswith(f"{log.url}: ") and line.isprintable()
        assert "self-signed certificate" in line
        assert line.endswith("set SSL_CERT_FILE to the certificate of the server's authority")
        assert log.requests == []


def test_the_remedy_for_a_certificate_of_ones_own_helps() -> None:
    script = "import sys, test_endpoint_replies as t; print(t.ask(sys.argv[1], tries=1))"
    with servers.serving(message(DUCK), CERTIFICATE) as log:
        asked = subprocess.run(
            [sys.executable, "-c", script, log.url],
            env={**os.environ, "SSL_CERT_FILE": str(CERTIFICATE),
                 "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert asked.stdout.strip() == DUCK, asked.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("http_proxy", "nothing://proxy:1", "check --base-url, and the proxy"),
        ("no_proxy", "*", "broke off.*check --base-url and that the server runs"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_reported(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with servers.serving(message(DUCK)) as log:
        url = log.url
    with pytest.raises(chat.ChatError, match=said):
        ask(url, tries=1)


@pytest.mark.parametrize("key", [KEY, None])
def test_the_environment_of_the_client_changes_nothing(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "sk-of-another-place")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with servers.serving(message(DUCK)) as log:
        assert ask(log.url, key=key) == DUCK
    [headers] = log.headers
    assert "sk-of-another-place" not in str(headers)
    assert headers["Authorization"] == (key and f"Bearer {key}")


@pytest.mark.parametrize(
    ("end", "path"),
    [
        ("/", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("?api-version=2024-10-21", "/v1/chat/completions?api-version=2024-10-21"),
        ("/chat/completions?api-version=v1", "/v1/chat/completions?api-version=v1"),
    ],
)
def test_an_address_may_end_in_several_ways(end: str, path: str) -> None:
    with servers.serving(message(DUCK)) as log:
        assert ask(log.url + end) == DUCK
    assert log.paths == [path]
    with servers.serving(status(400, "no")) as log, pytest.raises(chat.ChatError) as failure:
        ask(log.url + end)
    assert "?" not in str(failure.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1",
        "localhost:8000",
        "http://",
        "http://[::1/v1",
        "http://h:99999/v1",
        "http://h/v 1",
        "http://h/\x1b",
        f"http://{KEY}@h/v1",
        f"http://u:{KEY}@h/v1",
        f"https://h/v1?key={KEY}",
        f"https://h/v1?api-version={KEY}",
        f"https://h/v1?api-version=1&{KEY}",
        f"https://h/v1?{KEY}",
        f"https://h/v1#{KEY}",
        KEY,
    ],
)
def test_addresses_that_are_none_or_hold_a_key_are_refused(url: str) -> None:
    with pytest.raises(InputError) as refused:
        chat.Endpoint(url)
    with pytest.raises(InputError) as in_settings:
        ReportSettings.from_values({"base_url": url})
    for error in (refused.value, in_settings.value):
        assert error.field == "base_url"
        assert error.remedy
        assert KEY not in f"{error} {error.value}"
        assert str(error).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "delta",
                    "content",
                    "text",
                    "type",
                    "error",
                    "refusal",
                    "usage",
                ]
            ),
            inner,
        )
    ),
)


@settings(deadline=None, max_examples=50)
@given(
    JSON | st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"message": JSON}))})
)
def test_a_reply_of_any_shape_is_an_answer_or_none(data: Any) -> None:
    for read in (read_completion, lambda one: read_completion(join_stream([one], ended=True))):
        try:
            reading = read(data)
        except Unusable as fault:
            assert fault.problem
        else:
            assert isinstance(reading, Reading)
            assert isinstance(reading.text, str)
