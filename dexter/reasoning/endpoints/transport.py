"""The `openai` client, with an end to every exchange and a limit to every reply.

Imports the client, which takes a second: import this module only to ask.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx2
import openai

from dexter.bounded_http import BadReply, BoundedClient, finish
from dexter.reasoning.endpoints.dialects import (
    Reading,
    Unusable,
    complaint,
    every_text,
    is_spent,
    join_stream,
    read_completion,
)

_REFUSALS = {400, 422, 501}
_NO_API = "check that --base-url is an OpenAI-compatible API, such as http://HOST:PORT/v1"
_NO_ADDRESS = "check --base-url, and the proxy if the environment names one"


@dataclass(frozen=True)
class Transport:
    """A connection to an endpoint.

    Args:
        base_url: A checked address; it may end in "/chat/completions" and have a query.
        key: The key, or None for an endpoint that takes none.
        timeout: Seconds for an exchange, from looking up the host to the last byte.
        tries: The largest number of exchanges for an answer.
        pause: Seconds before an unusable reply is asked for again; doubled with each.
    """

    base_url: str
    key: str | None = field(repr=False)
    timeout: float
    tries: int
    pause: float

    def ask(self, request: dict[str, Any]) -> Reading:
        """Send a request and return the answer; raise `Unusable` if no try brings one."""
        return finish(self._ask(request))

    async def _ask(self, request: dict[str, Any]) -> Reading:
        tries, pause = 0, self.pause
        while True:
            try:
                # The client repeats exchanges that fail; those that bring nonsense come back here.
                client = self._client.with_options(max_retries=self.tries - tries - 1)
                raw = await client.chat.completions.with_raw_response.create(**request)
                tries += raw.retries_taken + 1
                return _read(raw.http_response)
            except openai.APIStatusError as error:
                tries += _count(error)
                fault = _refused(error, signed=self.key is not None)
            except openai.APIConnectionError as error:
                tries += _count(error)
                fault = _broken(error, self.timeout)
            except Unusable as error:
                fault = error
            except (httpx2.InvalidURL, ValueError, ImportError) as error:
                fault = Unusable(f"cannot be asked: {error}", remedy=_NO_ADDRESS)
            if not fault.passes or tries >= self.tries:
                fault.tries = tries
                raise fault from None
            await asyncio.sleep(pause)
            pause *= 2

    @cached_property
    def _client(self) -> openai.AsyncOpenAI:
        address = urlsplit(self.base_url)
        path = address.path.rstrip("/").removesuffix("/chat/completions")
        return openai.AsyncOpenAI(
            base_url=urlunsplit((address.scheme, address.netloc, path, "", "")),
            api_key=self.key or "none",  # which `_Http` removes
            default_query=dict(parse_qsl(address.query)),
            timeout=self.timeout,
            http_client=_Http(self.key, self.timeout),
        )


class _Http(BoundedClient):
    """Signs what it sends."""

    def __init__(self, key: str | None, timeout: float) -> None:
        super().__init__(timeout)
        self._key = key

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **_: Any
    ) -> httpx2.Response:
        self._sign(request)
        try:
            whole = await super().send(request)
        except BadReply as error:
            raise Unusable(str(error), remedy=_NO_API) from None
        if whole.status_code == 429 and is_spent(_json(whole)):
            whole.headers["X-Should-Retry"] = "false"
        return whole

    def _sign(self, request: httpx2.Request) -> None:
        """Put the key into the request, and nothing of OpenAI's users into those for others."""
        host = request.url.host
        if self._key is None:
            request.headers.pop("Authorization", None)
        elif host.endswith(".azure.com"):
            request.headers["api-key"] = self._key
        if host != "openai.com" and not host.endswith(".openai.com"):
            for name in ("OpenAI-Organization", "OpenAI-Project"):
                request.headers.pop(name, None)


def _json(response: httpx2.Response) -> Any:
    """Return the body, decoded; None if it is no JSON."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _read(response: httpx2.Response) -> Reading:
    body = response.content.lstrip()
    if body.startswith((b"data:", b"event:", b":")):
        stream = httpx2.Response(
            200,
            headers={"Content-Type": "text/event-stream"},
            content=body + b"\n\n",  # some servers leave out the last blank line
            request=response.request,
        )
        texts = [event.data for event in httpx2.EventSource(stream, max_event_size=None)]
        try:
            events = [json.loads(text) for text in texts if text.strip() not in ("", "[DONE]")]
        except (ValueError, RecursionError):
            raise Unusable("the stream is not JSON", remedy=_NO_API, passes=True) from None
        return read_completion(join_stream(events, ended="[DONE]" in texts))
    data = _json(response)
    if data is None:
        what = "an HTML page" if body.startswith(b"<") else "not JSON"
        raise Unusable(f"the reply is {what}", remedy=_NO_API, passes=True)
    return read_completion(data)


def _refused(error: openai.APIStatusError, *, signed: bool) -> Unusable:
    """Return a reply of another status than 200 as a problem and a remedy."""
    status, body = error.status_code, error.body
    said = complaint(body) or error.response.reason_phrase or "no message"
    if is_spent(body):
        remedy = "add credit to the account, or use another endpoint"
    elif status in (401, 403):
        remedy = "check the key" if signed else "set OPENAI_API_KEY or pass --key-file"
    elif status == 404:
        remedy = "check --base-url and the name of the model"
    elif status == 429:
        wait = error.response.headers.get("Retry-After", "")[:40]
        remedy = f"try again later{f' (Retry-After: {wait})' if wait else ''}"
    elif status >= 500:
        remedy = "try again later, or look into the server's log"
    elif status >= 400:
        remedy = "check that the model exists and takes such requests"
    else:
        remedy = "pass the address that it redirects to as --base-url"
    refusal = every_text(body) if status in _REFUSALS else None
    return Unusable(f"status {status}: {said}", remedy=remedy, refusal=refusal)


def _broken(error: openai.APIConnectionError, timeout: float) -> Unusable:
    """Return an exchange without a whole reply as a problem and a remedy."""
    if isinstance(error, openai.APITimeoutError):
        return Unusable(
            f"timed out: no whole reply within {timeout:g} s",
            remedy="raise --timeout, or lower --concurrency",
        )
    cause = str(error.__cause__) or type(error.__cause__).__name__
    remedy = "check --base-url and that the server runs"
    deeper: BaseException | None = error
    while deeper is not None:
        if isinstance(deeper, ssl.SSLCertVerificationError):
            remedy = "set SSL_CERT_FILE to the certificate of the server's authority"
        deeper = deeper.__cause__ or deeper.__context__
    return Unusable(f"cannot be reached or broke off: {cause}", remedy=remedy)


def _count(error: openai.APIStatusError | openai.APIConnectionError) -> int:
    """Return the number of exchanges that the client needed for an error."""
    return int(error.request.headers.get("X-Stainless-Retry-Count", "0")) + 1
