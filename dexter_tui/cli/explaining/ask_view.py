"""The answers to questions in free words, in a terminal and as Markdown, HTML and JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter_tui.presentation.guesses import change_text, unit_text

if TYPE_CHECKING:
    from dexter_tui.analysis.explaining.ask import Answered, Answers, Named

_UNIT_SCALE = "Effects on units are in standard deviations over the pictures."


def view(found: "Answers") -> Any:
    """Return the answers for a terminal."""
    from rich.console import Group

    from dexter_tui.formatting import plain, plain_table

    parts: list[Any] = []
    if found.answered:
        table = plain_table()
        for name in _columns(found):
            wraps = name in ("question", "change")
            table.add_column(name, no_wrap=not wraps, overflow="fold", min_width=16 * wraps)
        for one in found.answered:
            table.add_row(*(plain(cell) for cell in _cells(one)))
        parts += [table, ""]
    parts += [plain(_unit_line(one)) for one in found.named]
    parts += [""] if found.named else []
    parts.append(plain(found.basis, "dim"))
    if found.named:
        parts.append(plain(_UNIT_SCALE, "dim"))
    if found.answered:
        parts.append(plain("The change is in log-odds.", "dim"))
        parts.append(plain("`dexter-tui probe` tests a question on pictures.", "dim"))
    return Group(*parts)


def _columns(found: "Answers") -> list[str]:
    return ["question", f"p({found.class_name})", f"{found.level:.0%} interval", "change", "unseen"]


def _cells(one: "Answered") -> list[str]:
    low, high = one.guess.interval
    return [
        one.question,
        f"{one.guess.p:.2f}",
        f"{low:.2f} to {high:.2f}",
        change_text(one.to_json()),
        ", ".join(one.guess.unseen),
    ]


def _unit_line(one: "Named") -> str:
    return f"unit {one.unit}: {unit_text(one.to_json())}"


def write(found: "Answers", target: Path) -> None:
    """Write the answers as Markdown, HTML or JSON."""
    from dexter_tui.exchange import strip
    from store.markdown.escaping import escape, line, table

    if target.suffix.lower() == ".json":
        from dexter_tui.formatting import json_text

        strip.write_page(json_text(found.to_json()) + "\n", target)
        return
    parts = [f"# Questions to {escape(found.classifier)} about {escape(found.class_name)}"]
    if found.answered:
        rows = [list(map(escape, _columns(found)))]
        rows += [[escape(cell) for cell in _cells(one)] for one in found.answered]
        parts += [table(rows), "The change is in log-odds."]
    if found.named:
        parts.append("\n".join(f"- {line(_unit_line(one))}" for one in found.named))
        parts.append(_UNIT_SCALE)
    parts.append(escape(found.basis))
    strip.write_page("\n\n".join(parts) + "\n", target)
