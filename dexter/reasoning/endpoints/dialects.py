"""The dialects of OpenAI-compatible endpoints: what they refuse, and how their replies are read.

Pure functions over decoded JSON. Nothing that an endpoint sends is trusted to have a certain shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

THOUGHTS = 4096
"""Tokens that a thinking model gets beside those of its answer."""

_PASSING = {"408", "409", "425", "429", "rate_limit_exceeded", "overloaded_error", "server_error"}
_SPENT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_MOST_TOKENS = 2**53  # what JSON and SQLite carry exactly

_NAME = r"(?:think|thinking|thoughts?|reasoning)"
_THOUGHTS_TAG = re.compile(
    rf"(?P<opened><{_NAME}(?:\s[^<>]{{0,100}})?>|\[{_NAME}\]|◁{_NAME}▷"
    r"|<\|channel\|>analysis<\|message\|>)"
    rf"|</{_NAME}>|\[/{_NAME}\]|◁/{_NAME}▷|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_MARKER = re.compile(r"</?answer>|<\|[a-z_]{1,30}\|>", re.IGNORECASE)


class Unusable(Exception):
    """A reply without an answer, or none.

    Args:
        problem: What is wrong, as a clause, in the endpoint's own words where it has any.
        remedy: What to do, in the imperative.
        passes: Whether the same request may bring an answer the next time.
        refusal: All texts of a refusal; they may name the parameter that is not taken.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str | None = None,
        passes: bool = False,
        refusal: str | None = None,
    ) -> None:
        problem = _encodable(problem)
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.passes = passes
        self.refusal = refusal
        self.tries = 1


@dataclass(frozen=True)
class Reading:
    """The answer in a reply; text: empty if the model's thoughts left no room for one."""

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Dialect:
    """The parameters that a model takes. limit: the name of its token limit, None for none."""

    limit: str | None = "max_tokens"
    temperature: bool = True
    system_role: bool = True
    stream: bool = False
    room: int = 0
    """Tokens for thoughts."""

    def request(
        self, model: str, messages: Sequence[dict[str, Any]], max_tokens: int, temperature: float
    ) -> dict[str, Any]:
        """Build the body of a request."""
        body: dict[str, Any] = {
            "model": model,
            "messages": list(messages) if self.system_role else _without_system(messages),
        }
        if self.limit is not None:
            body[self.limit] = max_tokens + self.room
        if self.temperature:
            body["temperature"] = temperature
        if self.stream:
            body["stream"] = True
        return body

    def adapted(self, refusal: str) -> Dialect | None:
        """Change what a refusal names; None if it names nothing that can be changed.

        A dialect only moves on, so that repeated refusals come to an end.
        """

        def names(word: str) -> bool:
            return re.search(rf"\b{word}\b", refusal, re.IGNORECASE) is not None

        if self.limit == "max_tokens" and names("max_tokens"):
            return replace(self, limit="max_completion_tokens")
        if self.limit == "max_completion_tokens" and names("max_completion_tokens"):
            return replace(self, limit=None)
        if self.temperature and names("temperature"):
            return replace(self, temperature=False)
        if not self.stream and names("stream(?:ing)?"):
            return replace(self, stream=True)
        if self.system_role and names("system"):
            return replace(self, system_role=False)
        return None


def _without_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the system's text at the beginning of the user's first message."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    others = [m for m in messages if m["role"] != "system"]
    if not system or not others:
        return others
    content = others[0]["content"]
    joined = (
        f"{system}\n\n{content}"
        if isinstance(content, str)
        else [{"type": "text", "text": system}, *content]
    )
    return [{**others[0], "content": joined}, *others[1:]]


def read_completion(data: Any) -> Reading:
    """Return the answer of a chat completion; raise `Unusable` if it holds none."""
    if not isinstance(data, dict):
        raise Unusable("the reply is no chat completion", passes=True)
    _raise_error(data)
    choices = data.get("choices")
    if not isinstance(choices, list):
        raise Unusable("the reply is no chat completion", passes=True)
    if not choices:
        raise Unusable("the reply holds no choices", passes=True)
    choice = _dict(choices[0])
    _raise_error(choice)
    message = _dict(choice.get("message"))
    finish = choice.get("finish_reason")
    written = _text(message.get("content"))
    refusal = message.get("refusal") or _text(message.get("content"), kind="refusal")
    if isinstance(refusal, str) and refusal.strip():
        raise Unusable(f"the model refuses: {refusal.strip()}", remedy="use another model")
    text = _encodable(without_thoughts(written))
    if not text:
        if finish == "content_filter":
            raise Unusable("a content filter withheld the answer", remedy="use another model")
        if finish != "length" and not written.strip():
            raise Unusable("the reply holds no text", passes=True)
    usage = _dict(data.get("usage"))
    return Reading(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def join_stream(events: Iterable[Any], *, ended: bool) -> dict[str, Any]:
    """Join the chunks of a stream into a completion.

    ended: the stream said that it is complete. Otherwise its last chunk has to give a reason for
    its end, or it broke off: `Unusable`.
    """
    content: list[str] = []
    refusal: list[str] = []
    finish: Any = None
    usage: Any = None
    for event in events:
        event = _dict(event)
        _raise_error(event)
        usage = event.get("usage") or usage
        choices = event.get("choices")
        choice = _dict(choices[0]) if isinstance(choices, list) and choices else {}
        _raise_error(choice)
        delta = _dict(choice.get("delta") or choice.get("message"))
        content.append(_text(delta.get("content")))
        if isinstance(delta.get("refusal"), str):
            refusal.append(delta["refusal"])
        finish = choice.get("finish_reason") or finish
    if finish is None and not ended:
        raise Unusable("the stream broke off", passes=True)
    message = {"content": "".join(content), "refusal": "".join(refusal)}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


def without_thoughts(text: str) -> str:
    """Remove a model's thoughts from its text, also those never closed or never opened."""
    kept: list[str] = []
    at, inside = 0, False
    for tag in _THOUGHTS_TAG.finditer(text):
        if tag["opened"] is None:
            if not inside:
                kept.clear()  # the server took the opening tag for part of the prompt
            at, inside = tag.end(), False
        elif not inside:
            kept.append(text[at : tag.start()])
            inside = True
    if not inside:
        kept.append(text[at:])
    return _MARKER.sub("", "".join(kept)).strip()


def complaint(body: Any) -> str:
    """Return what an error's body says: JSON of any shape, or plain text."""
    error = body.get("error") or body if isinstance(body, dict) else body
    if isinstance(error, dict):
        said: Any = next((error[k] for k in ("message", "detail", "msg") if error.get(k)), "")
        error = said if isinstance(said, str) else " ".join(_strings(said))
    if not isinstance(error, str):
        return ""
    return "an HTML page" if error.lstrip().startswith("<") else _encodable(error.strip())


def every_text(body: Any) -> str:
    """Return all strings of an error's body, where a setting may be named."""
    return _encodable("\n".join(_strings(body)))


def _encodable(text: str) -> str:
    """Replace what JSON can hold but UTF-8 cannot: half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def is_spent(body: Any) -> bool:
    """Return whether an error says that the account's quota is spent; another try cannot pass."""
    error = _dict(_dict(body).get("error") or body)
    return not {str(error.get(name)) for name in ("code", "type")}.isdisjoint(_SPENT)


def _raise_error(data: dict[str, Any]) -> None:
    """Raise `Unusable` for an error object within a reply of status 200."""
    error = data.get("error")
    if not error:
        return
    codes = {str(_dict(error).get(name)) for name in ("code", "type", "status")}
    passes = any(code in _PASSING or re.fullmatch(r"5\d\d", code) for code in codes)
    raise Unusable(
        f"answers with an error: {complaint(data) or 'without a message'}",
        passes=passes and not is_spent(data),
        refusal=every_text(error),
    )


def _text(content: Any, kind: str = "text") -> str:
    """Join the texts of a content: a string, null, or a list of parts."""
    if isinstance(content, str):
        return content if kind == "text" else ""
    joined = ""
    for part in content if isinstance(content, list) else []:
        if isinstance(part, dict):
            kinds = {kind, "output_text", None} if kind == "text" else {kind}
            if not isinstance(part.get("type"), str | None) or part.get("type") not in kinds:
                continue
            part = part.get(kind)
            part = part.get("value") if isinstance(part, dict) else part
        elif kind != "text":
            continue
        if isinstance(part, str):
            apart = joined and not joined[-1].isspace() and part[:1].isalnum()
            joined += f" {part}" if apart else part
    return joined


def _strings(value: Any, depth: int = 8) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part, depth - 1)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(usage: dict[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if type(count) is int and 0 <= count < _MOST_TOKENS else None
