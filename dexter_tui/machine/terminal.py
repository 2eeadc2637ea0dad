"""What the terminal can show, asked once and before Textual reads it.

Libraries that show pictures ask the terminal while they are imported, with short limits; over a
slow line the answers come late and are then read as key presses. So all is asked here in one
write, behind which stands a question that every terminal answers (DA1): when its answer is there,
all answers are.
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
_DA1_ANSWER = re.compile(rb"\x1b\[\?([\d;]*)c")

Graphics = Literal["blocks", "kitty", "sixel"]


def probe(images: str) -> Graphics:
    """How one large picture can be shown; "blocks" wherever there is doubt.

    Asks nothing where the answer would not matter.
    """
    if images in ("blocks", "ascii", "off") or os.environ.get("TERM") in (None, "dumb", "linux"):
        return "blocks"
    if images == "auto" and (os.environ.get("TMUX") or os.environ.get("CI")):
        return "blocks"  # tmux hands neither through without being told to
    answer = ask(_KITTY + _DA1)
    if answer is None:
        return "blocks"
    if b"i=31;OK" in answer and images in ("auto", "kitty"):
        return "kitty"
    attributes = _DA1_ANSWER.search(answer)
    if attributes and b"4" in attributes[1].split(b";") and images in ("auto", "sixel"):
        return "sixel"
    return "blocks"


def ask(question: bytes, limit: float = LIMIT_SECONDS) -> bytes | None:
    """The terminal's answers to questions of which DA1 is the last; None if it stays silent.

    What is typed meanwhile is lost, as are answers that come within half a second after the limit.
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
            os.write(terminal, question)
            answer = _read(terminal, limit)
            if not _DA1_ANSWER.search(answer):
                _read(terminal, 0.5)
                return None
            return answer
        finally:
            # TCSAFLUSH drops what was not read.
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    except (OSError, termios.error):
        return None
    finally:
        with contextlib.suppress(OSError):
            os.close(terminal)


def _read(terminal: int, limit: float) -> bytes:
    """What arrives until DA1 is answered or the time is over."""
    answer, deadline = b"", time.monotonic() + limit
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            break
        answer += os.read(terminal, 4096)
        if _DA1_ANSWER.search(answer):
            break
    return answer


def speaks_utf8(env: Mapping[str, str]) -> bool:
    """Whether half blocks and other signs beyond ASCII come through."""
    name = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    if not name:
        return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return re.search(r"utf-?8", name, re.IGNORECASE) is not None


def theme_for(env: Mapping[str, str]) -> str:
    """Colours that the terminal has."""
    few = env.get("TERM", "") in ("linux", "vt100", "vt220", "ansi", "xterm", "screen")
    rich = env.get("COLORTERM", "") or "256" in env.get("TERM", "")
    return "ansi-dark" if few and not rich else "dexter"
