"""A client of OpenAI-compatible Chat Completions: OpenAI, Ollama, vLLM, `transformers serve`.

Written over the standard library, so that what is retried, how long a reply may take and how large
it may be is decided here. The key goes into one header and nowhere else.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from dexter.errors import InputError

OPENAI = "https://api.openai.com/v1"
_MAX_REPLY = 8_000_000  # bytes
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE = 60.0  # seconds


T = TypeVar("T")
R = TypeVar("R")


class ChatError(RuntimeError):
    """The endpoint gave no usable answer; one line, without the key."""


@dataclass(frozen=True)
class Answer:
    """A text and the tokens that it cost, None where the endpoint does not say."""

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask. timeout: seconds for a whole reply. tries: at most, for one answer."""

    base_url: str = OPENAI
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    tries: int = 4
    pause: float = 1.0
    """Seconds before the second try; doubled with each."""

    def __post_init__(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InputError(f"--base-url: {self.base_url!r} is no http or https address")
        if address.username or address.password:
            raise InputError("--base-url: must not hold a key; put it into the environment")

    def complete(
        self,
        model: str,
        messages: Sequence[dict[str, Any]],
        *,
        max_tokens: int,
        temperature: float = 0.2,
    ) -> Answer:
        """One answer. Retries what may pass (429, 5xx, time-outs, broken replies); ChatError."""
        body = json.dumps(
            {
                "model": model,
                "messages": list(messages),
                "max_tokens": max_tokens,
                "temperature": temperature,
                "n": 1,
            }
        ).encode()
        for attempt in range(1, self.tries + 1):
            try:
                return _read_answer(self._post(body))
            except _Passing as error:
                if attempt == self.tries:
                    raise ChatError(self._clean(f"{error} ({attempt} tries)")) from None
                pause = error.pause or self.pause * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
                time.sleep(min(pause, _LONGEST_PAUSE))
            except ChatError as error:
                raise ChatError(self._clean(str(error))) from None
        raise AssertionError("unreachable")

    def _post(self, body: bytes) -> bytes:
        request = urllib.request.Request(
            self.base_url.rstrip("/") + "/chat/completions",
            data=body,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        if self.key:
            # Unredirected: it is never carried to another place.
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        deadline = time.monotonic() + self.timeout
        try:
            with _opener.open(request, timeout=self.timeout) as reply:
                return _read(reply, deadline)
        except urllib.error.HTTPError as error:
            told = _told(error, deadline)
            line = f"{self.base_url} answers {error.code}: {told}"
            if error.code in _RETRIED:
                raise _Passing(line, _retry_after(error)) from None
            raise ChatError(line) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            name = str(reason) or type(error).__name__
            raise _Passing(f"{self.base_url} cannot be reached or broke off: {name}") from None

    def _clean(self, line: str) -> str:
        """One line of printable characters, without the key, even if the server repeats it."""
        if self.key:
            line = line.replace(self.key, "[key]")
        return "".join(c if c.isprintable() else " " for c in line)[:500]


class _Passing(Exception):
    """What another try may mend. pause: seconds that the endpoint asked for."""

    def __init__(self, line: str, pause: float | None = None) -> None:
        super().__init__(line)
        self.pause = pause


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)


def _read(reply: Any, deadline: float) -> bytes:
    """The whole reply, before the deadline, however slowly it drips."""
    parts, size = [], 0
    while part := reply.read1(65536):
        parts.append(part)
        size += len(part)
        if size > _MAX_REPLY:
            raise ChatError(f"the reply is longer than {_MAX_REPLY} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("timed out within the reply")
    declared = reply.headers.get("Content-Length")
    if declared is not None and declared.isdecimal() and size < int(declared):
        raise http.client.IncompleteRead(b"".join(parts), int(declared) - size)
    return b"".join(parts)


def _told(error: urllib.error.HTTPError, deadline: float) -> str:
    """What an error's body says, in short."""
    try:
        text = _read(error, deadline).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ChatError):
        return error.reason or ""
    try:
        told = json.loads(text)["error"]
        text = told["message"] if isinstance(told, dict) else str(told)
    except (ValueError, LookupError, TypeError):
        pass
    return text.strip()[:200] or error.reason or ""


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    value = error.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return None


def _read_answer(reply: bytes) -> Answer:
    try:
        data = json.loads(reply)
        text = data["choices"][0]["message"]["content"]
        usage = data.get("usage") or {}
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _Passing(f"the reply is no chat completion ({type(error).__name__})") from None
    if not isinstance(text, str) or not text.strip():
        raise _Passing("the reply holds no text")
    counts = [value if isinstance(value, int) else None for value in tokens]
    return Answer(text, *counts)


def picture_message(text: str, png: bytes) -> dict[str, Any]:
    """A user's message of a picture, and a text if there is any."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}]
    return {
        "role": "user",
        "content": [*([{"type": "text", "text": text}] if text else []), *content],
    }


def read_key(path: Path | None = None) -> str | None:
    """The API key: of ``path``, else OPENAI_API_KEY. InputError for a file that others can read."""
    if path is None:
        return os.environ.get("OPENAI_API_KEY") or None
    try:
        mode = path.stat().st_mode
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--key-file: cannot read {path}: {error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(f"--key-file: others can read {path}; run chmod 600 on it")
    if not key or any(not "!" <= c <= "~" for c in key):
        raise InputError(f"--key-file: {path} holds no key: one line of ASCII is expected")
    return key


def in_parallel(
    ask: Callable[[T], R], items: Sequence[T], workers: int, patience: int = 3
) -> Iterator[tuple[T, R | ChatError]]:
    """What ``ask`` gives for each item, as it comes, at most ``workers`` at a time.

    After ``patience`` failures in a row nothing more is asked: the endpoint is down.
    """
    waiting = iter(items)
    failures = 0
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        running: dict[Future[R], T] = {}

        def start() -> None:
            item = next(waiting, None)
            if item is not None and not stop.is_set():
                running[pool.submit(ask, item)] = item

        for _ in range(workers):
            start()
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                item = running.pop(future)
                error = future.exception()
                if error is not None and not isinstance(error, ChatError):
                    raise error
                failures = 0 if error is None else failures + 1
                if failures >= patience:
                    stop.set()
                start()
                yield item, error if error is not None else future.result()
