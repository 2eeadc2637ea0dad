"""Exchanges over HTTP that end: a deadline for the whole, a limit to the reply, no redirect.

Imports the client, which takes a second: import this module only to ask.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx2

MAX_REPLY = 8_000_000  # bytes

_TLS = httpx2.create_ssl_context()  # a tenth of a second
_T = TypeVar("_T")

# A loop for all exchanges, in its own thread: only there can a deadline end one at any point, and
# a name that nobody resolves keeps no caller waiting.
_LOOP = asyncio.new_event_loop()
threading.Thread(target=_LOOP.run_forever, name="exchanges", daemon=True).start()


class BadReply(Exception):
    """A reply that is not read to its end: too long or packed."""


class BoundedClient(httpx2.AsyncClient):
    """Reads whole replies before a deadline, follows no redirect and unpacks nothing.

    timeout: seconds for an exchange, from looking up the host to the last byte; then it raises
    httpx2.ReadTimeout.
    """

    def __init__(self, timeout: float) -> None:
        # Unpacked, a reply of some kilobytes can fill the memory.
        headers = {"Accept-Encoding": "identity"}
        super().__init__(verify=_TLS, timeout=timeout, follow_redirects=False, headers=headers)
        self._seconds = timeout

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **_: Any
    ) -> httpx2.Response:
        """Return the whole reply; raise BadReply or an httpx2 error."""
        try:
            async with asyncio.timeout(self._seconds):
                response = await super().send(request, stream=True)
                try:
                    content = await _content(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout("timed out", request=request) from None
        return httpx2.Response(
            response.status_code, headers=response.headers, content=content, request=request
        )


def finish(exchange: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in the loop of exchanges and return its result."""
    asked = asyncio.run_coroutine_threadsafe(exchange, _LOOP)
    try:
        return asked.result()
    except BaseException:
        asked.cancel()
        raise


async def _content(response: httpx2.Response) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise BadReply("sends a packed reply, although none was asked for")
    parts, size = [], 0
    async for part in response.aiter_raw():
        parts.append(part)
        size += len(part)
        if size > MAX_REPLY:
            raise BadReply(f"the reply is longer than {MAX_REPLY} bytes")
    return b"".join(parts)
