"""The probe of the terminal's graphics, made once, before Textual reads from the terminal.

Picture libraries query the terminal on import, with short timeouts; over a slow line the replies
arrive late and are read as key presses. Here, a single write sends all queries, followed by one
that every terminal replys (DA1): after its reply, no other reply is due.
"""

import contextlib
import os
import re
import select
import sys
import time
from collections.abc import Mapping
from typing import Literal

LIMIT_SECONDS = 2.0
_KITTY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_DA1 = b"\x1b[c"
_DA1_REPLY = re.compile(rb"\x1b\[\?([\d;]*)c")

Graphics = Literal["blocks", "kitty", "sixel"]


def probe(images: str) -> Graphics:
    """Return the best way to show an enlarged picture; "blocks" if in doubt.

    Sends no query if the reply would not matter.
    """
    if images in ("blocks", "ascii", "off") or os.environ.get("TERM") in (None, "dumb", "linux"):
        return "blocks"
    if images == "auto" and (os.environ.get("TMUX") or os.environ.get("CI")):
        return "blocks"  # by default, tmux passes neither through
    reply = ask(_KITTY + _DA1)
    if reply is None:
        return "blocks"
    if b"i=31;OK" in reply and images in ("auto", "kitty"):
        return "kitty"
    attributes = _DA1_REPLY.search(reply)
    if attributes and b"4" in attributes[1].split(b";") and images in ("auto", "sixel"):
        return "sixel"
    return "blocks"


def ask(queries: bytes, limit: float = LIMIT_SECONDS) -> bytes | None:
    """Send queries, of which DA1 is the last; return the replies, or None without any.

    Discards keys typed meanwhile, and replies that arrive up to 0.5 s after the limit.
    """
    import termios
    import tty

    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal)
            os.write(terminal, queries)
            reply = _read(terminal, limit)
            if not _DA1_REPLY.search(reply):
                _read(terminal, 0.5)
                return None
            return reply
        finally:
            # TCSAFLUSH discards unread input.
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    except (OSError, termios.error):
        return None
    finally:
        with contextlib.suppress(OSError):
            os.close(terminal)


def _read(terminal: int, limit: float) -> bytes:
    """Read until the reply to DA1 or the time limit."""
    reply, deadline = b"", time.monotonic() + limit
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            break
        reply += os.read(terminal, 4096)
        if _DA1_REPLY.search(reply):
            break
    return reply


def speaks_utf8(env: Mapping[str, str]) -> bool:
    """Return True if the locale is UTF-8, so that half blocks work."""
    name = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    if not name:
        return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return re.search(r"utf-?8", name, re.IGNORECASE) is not None


def theme_for(env: Mapping[str, str]) -> str:
    """Return the default theme for the colours of the terminal."""
    few = env.get("TERM", "") in ("linux", "vt100", "vt220", "ansi", "xterm", "screen")
    rich = env.get("COLORTERM", "") or "256" in env.get("TERM", "")
    return "ansi-dark" if few and not rich else "dexter"
