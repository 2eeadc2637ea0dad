"""Questions to OpenAI-compatible Chat Completions: OpenAI, Ollama, vLLM, `transformers serve`.

The `openai` client carries them (`endpoints.transport`); `endpoints.dialects` covers what endpoints
disagree on. The key goes into the headers of requests and nowhere else.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from dexter.errors import InputError
from dexter.reasoning.endpoints.dialects import THOUGHTS, Dialect, Reading, Unusable

if TYPE_CHECKING:
    from dexter.reasoning.endpoints.transport import Transport

OPENAI = "https://api.openai.com/v1"
_MAX_PROBLEM = 300  # characters
_MAX_KEY = 4096  # bytes


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
    """An endpoint and how to ask it.

    Args:
        base_url: Its address, to which "/chat/completions" is added. The only query allowed is
            Azure's "?api-version=".
        key: The API key, if it takes one.
        timeout: Seconds for a whole exchange, however slowly its bytes come.
        tries: The largest number of exchanges for one answer, refused parameters not counted.
        pause: Seconds before an unusable reply is asked for again; doubled with each. Other
            failures are repeated at the pace of the `openai` client, or of "Retry-After".
    """

    base_url: str = OPENAI
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    tries: int = 4
    pause: float = 1.0
    _dialects: dict[str, Dialect] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_address(self.base_url)
        if self.key is not None:
            _check_key(self.key, "the key")
        if not self.timeout > 0:
            raise InputError("must be positive", field="timeout", value=self.timeout)
        if self.tries < 1:
            raise InputError("must be at least 1", field="tries", value=self.tries)

    @property
    def address(self) -> str:
        """The address as it may be shown: scheme, host and path."""
        return urlsplit(self.base_url)._replace(query="", fragment="").geturl()

    def complete(
        self,
        model: str,
        messages: Sequence[dict[str, Any]],
        *,
        max_tokens: int,
        temperature: float = 0.2,
    ) -> Answer:
        """Return an answer without the model's thoughts.

        Asks again without a parameter that the endpoint refuses by name, and with room for
        thoughts if they used up `max_tokens`; later questions profit from it. Raises ChatError.
        """
        dialect = self._dialects.get(model, Dialect())
        readings: list[Reading] = []
        while True:
            try:
                request = dialect.request(model, messages, max_tokens, temperature)
                readings.append(self._transport.ask(request))
                if readings[-1].text:
                    break
                if dialect.room:
                    raise Unusable(
                        f"thoughts of {model} use up {max_tokens + dialect.room} tokens",
                        remedy="use a model that thinks less",
                    )
                dialect = replace(dialect, room=THOUGHTS)
            except Unusable as fault:
                adapted = dialect.adapted(fault.refusal or "")
                if adapted is None:
                    raise ChatError(self._sentence(fault)) from None
                dialect = adapted
        self._dialects[model] = dialect
        return Answer(
            self._without_secrets(readings[-1].text),
            _sum([reading.input_tokens for reading in readings]),
            _sum([reading.output_tokens for reading in readings]),
        )

    @cached_property
    def _transport(self) -> Transport:
        from dexter.reasoning.endpoints.transport import Transport

        return Transport(self.base_url, self.key, self.timeout, self.tries, self.pause)

    def _sentence(self, fault: Unusable) -> str:
        """Return a fault as one printable line, without the key even if the server repeats it."""
        problem = _one_line(self._without_secrets(fault.problem))
        if len(problem) > _MAX_PROBLEM:
            problem = f"{problem[:_MAX_PROBLEM]}…"
        tries = f" ({fault.tries} tries)" if fault.tries > 1 else ""
        remedy = f"; {_one_line(self._without_secrets(fault.remedy))}" if fault.remedy else ""
        return f"{self.address}: {problem}{tries}{remedy}"

    def _without_secrets(self, text: str) -> str:
        return self._secrets.sub("[key]", text)

    @cached_property
    def _secrets(self) -> re.Pattern[str]:
        """The key, also with characters in it that a later step removes, and what looks like one.

        A short word is no secret but the stand-in that local servers ask for ("none").
        """
        own = self.key if self.key and (len(self.key) >= 8 or not self.key.isalpha()) else ""
        spellings = {own, quote(own, safe="")} - {""}
        patterns = [r"[^!-~]*+".join(map(re.escape, spelling)) for spelling in spellings]
        return re.compile("|".join([*patterns, r"\bsk-[\w-]{16,}", r"\bBearer\s+[\w.~+/=-]{16,}"]))


def check_address(base_url: str) -> None:
    """Raise InputError for what is no address of an API, or may hold a key; never show that."""
    example = "pass an address such as http://localhost:11434/v1"
    keys = "set OPENAI_API_KEY or pass --key-file for a key"
    try:
        address = urlsplit(base_url)
        usable = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        usable = False
    if not usable or not base_url.isprintable() or " " in base_url:
        raise InputError("must be an http or https address", field="base_url", remedy=example)
    shown = f"{address.scheme}://{address.hostname}{address.path}"
    if address.username is not None or address.password is not None:
        raise InputError(
            "must not hold a user or password", field="base_url", value=shown, remedy=keys
        )
    version = re.fullmatch(
        r"api-version=(?:(?:\d{4}-\d{2}-\d{2}|v\d+)(?:-?preview)?|preview|latest)", address.query
    )
    if address.fragment or (address.query and version is None):
        raise InputError(
            "must not hold a query or fragment, except for ?api-version=",
            field="base_url",
            value=shown,
            remedy=f"remove it; {keys}",
        )


def _check_key(key: str, where: str) -> None:
    if not key or any(not "!" <= c <= "~" for c in key):
        raise InputError(
            f"{where} must be one line of visible ASCII characters",
            field="key_file",
            remedy="check it for stray characters",
        )


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def picture_message(png: bytes) -> dict[str, Any]:
    """Build a user's message of a picture."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def read_key(path: Path | None = None) -> str | None:
    """Read the API key from a file, else from OPENAI_API_KEY; None if that is not set.

    Raises InputError for a file that others can read, and for what is no key.
    """
    if path is None:
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if key:
            _check_key(key, "OPENAI_API_KEY")
        return key or None
    try:
        status = path.stat()
        plain = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_KEY
        key = path.read_text(encoding="utf-8-sig").strip() if plain else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(
            f"cannot read {path}: {reason}",
            field="key_file",
            value=path,
            remedy="pass a file that you can read",
        ) from None
    if not plain:
        raise InputError(
            f"{path} is no plain file of at most {_MAX_KEY} bytes",
            field="key_file",
            value=path,
            remedy="pass a file that holds one key",
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise InputError(
            f"others can read {path}",
            field="key_file",
            value=path,
            remedy="run chmod 600 on it",
        )
    _check_key(key, f"the text in {path}")
    return key


def in_parallel(
    ask: Callable[[T], R], items: Sequence[T], workers: int, patience: int = 3
) -> Iterator[tuple[T, R | ChatError]]:
    """Yield each item with its answer, as they come, from at most ``workers`` calls at a time.

    After ``patience`` failures in a row it starts no more calls: the endpoint is down.
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
