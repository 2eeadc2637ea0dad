"""The SQL editor: schema, query with history and completion, and result."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pygments.lexers.sql import SqlLexer
from pygments.token import Token
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import TextArea

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, fit, padded, strip_of
from dexter_tui.dashboard.host import Copied, host_of
from dexter_tui.dashboard.screens.base import DataScreen, entitle
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.formatting import clean
from store.artifacts import open_log
from store.errors import StoreError
from store.reading import queries, query_process

_WIDEST = 48  # cells of a column
_READ = 300  # characters of a value, some of which may have no width
_KEPT = 200  # queries
_KEYWORDS = (
    "SELECT FROM WHERE GROUP BY ORDER LIMIT HAVING JOIN LEFT ON AND OR NOT NULL DISTINCT COUNT "
    "MATCH LIKE BETWEEN DESC CASE WHEN THEN ELSE END WITH"
)


class AnswerView(ScrollView, Lines, can_focus=True):
    """The result as a table; only visible lines are drawn."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answer: queries.Answer | None = None
        self._widths: list[int] = []
        self._message = Text()
        self._lines: Sequence[Text] = ()

    def show_message(self, message: Text) -> None:
        """Show a message in place of a result."""
        self.answer, self._message = None, message
        self._wrap()

    def _wrap(self) -> None:
        width = max(self.scrollable_content_region.width, 1)
        self._lines = list(self._message.wrap(Console(width=width), width))
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def on_resize(self) -> None:
        if self.answer is None:
            self._wrap()

    def show(self, answer: queries.Answer) -> None:
        """Show a result."""
        self.answer = answer
        rows = (answer.columns, *answer.rows)
        texts = [[_shown(value) for value in row] for row in rows]
        self._widths = [min(max(map(cell_len, one)), _WIDEST) for one in zip(*texts, strict=True)]
        width = sum(self._widths) + 2 * len(self._widths)
        self.virtual_size = Size(width, len(answer.rows) + 1)
        self.scroll_to(0, 0, animate=False, force=True)
        self.refresh()

    def line(self, y: int) -> Strip:
        palette, width = host_of(self).palette, self.columns_shown
        if self.answer is None:
            at = self.scroll_offset.y + y
            return strip_of(self._lines[at] if at < len(self._lines) else Text(), width)
        row = self.scroll_offset.y + y - 1
        if y == 0:
            values, style = [_shown(v) for v in self.answer.columns], palette.dim
        elif row < len(self.answer.rows):
            values, style = [_shown(v) for v in self.answer.rows[row]], ""
        else:
            return Strip.blank(width)
        text = Text(no_wrap=True)
        for value, room in zip(values, self._widths, strict=True):
            text.append(f"{padded(value, room)}  ", style)
        whole = strip_of(text, max(self.virtual_size.width, 1))
        x = self.scroll_offset.x
        return whole.crop(x, x + width).adjust_cell_length(width)


def _shown(value: object) -> str:
    from dexter_tui.presentation.answers import shown

    return clean(shown(value)[:_READ])


class SchemaView(ScrollView, Lines, can_focus=True):
    """The views and tables with their columns; only visible lines are drawn."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lines: list[tuple[str, str]] = []

    def show(self, lines: list[tuple[str, str]]) -> None:
        """Show lines, each with its style."""
        self._lines = lines
        self.virtual_size = Size(self.size.width, len(lines))
        self.refresh()

    def line(self, y: int) -> Strip:
        at, width = self.scroll_offset.y + y, self.columns_shown
        line, style = self._lines[at] if at < len(self._lines) else ("", "")
        return strip_of(Text(fit(line, width), style), width)


class SqlArea(TextArea):
    """The editor of the query, with its tokens in colours."""

    def __init__(self, text: str, **options: Any) -> None:
        # The style of the line of the cursor would cover the colours.
        super().__init__(text, tab_behavior="focus", highlight_cursor_line=False, **options)
        self.border_title = "SQL"
        self._lexer = SqlLexer()

    def on_resize(self) -> None:
        # Textual does so if the width changes, but not if only the height does.
        self.call_after_refresh(self.scroll_cursor_visible)

    def get_line(self, line_index: int) -> Text:
        line, palette = super().get_line(line_index), host_of(self).palette
        styles = {
            Token.Keyword: f"bold {palette.primary}",
            Token.Literal.String: palette.good,
            Token.Literal.Number: palette.warn,
            Token.Comment: palette.dim,
        }
        for start, token, value in self._lexer.get_tokens_unprocessed(line.plain):
            for kind, style in styles.items():
                if token in kind:
                    line.stylize(style, start, start + len(value))
        return line


class QueryScreen(DataScreen):
    """The screen of the SQL editor."""

    BINDINGS = bindings("query")
    AUTO_FOCUS = "#sql"

    def __init__(self) -> None:
        super().__init__()
        self._schema: dict[str, list[str]] = {}
        self._past: list[str] = []
        self._place = 0
        self._draft = ""  # what was typed before the history was looked through
        self._pending = False
        self._matches: tuple[str, list[str], int] = ("", [], 0)

    def compose(self) -> ComposeResult:
        with Horizontal(id="query-body"):
            with Vertical(id="query-left"):
                draft = self.host.query_draft
                yield SqlArea(draft, id="sql", classes="panel")
                answer = AnswerView(id="answer", classes="panel")
                answer.border_title = "Result"
                yield answer
            schema = SchemaView(id="query-schema", classes="panel")
            schema.border_title = "Views and tables"
            yield schema
        yield KeyBar()

    def on_mount(self) -> None:
        area = self.query_one("#sql", TextArea)
        area.move_cursor(area.document.end)

    @property
    def _file(self) -> Path:
        return self.host.home / "query_history.jsonl"

    def load(self, wish: object) -> tuple[dict[str, list[str]], list[str]]:
        if not self.host.browse.path.exists():
            return {}, []
        past: list[str] = []
        with suppress(OSError, ValueError):
            lines = self._file.read_text(encoding="utf-8").splitlines()[-_KEPT:]
            past = [str(json.loads(line)) for line in lines]
        return queries.schema(self.host.browse.path), past

    def show(self, data: tuple[dict[str, list[str]], list[str]]) -> None:
        if self._schema:
            return
        self._schema, past = data
        self._past = past
        self._place = len(past)
        palette = self.host.palette
        lines = []
        for name, columns in self._schema.items():
            stable = name in queries.VIEWS or name == "search"
            lines.append((clean(name), f"bold {palette.primary if stable else palette.text}"))
            lines += [(f"  {clean(column)}", palette.dim) for column in columns]
        self.query_one(SchemaView).show(lines)
        if self.query_one(AnswerView).answer is None and not self._pending:
            examples = Text("Examples; press F3 to load one into the editor\n\n", palette.dim)
            for number, (title, sql) in enumerate(queries.EXAMPLES, 1):
                examples.append(f"{number:>2}  {title}\n", "bold")
                examples.append(f"{sql}\n", palette.dim)
            self.query_one(AnswerView).show_message(examples)

    def repaint(self) -> None:
        self.query_one(SqlArea).notify_style_update()
        super().repaint()

    # Keys

    def action_run(self) -> None:
        sql = self.query_one("#sql", TextArea).text.strip()
        if not sql or self._pending:
            return
        self._pending = True
        entitle(self.query_one(AnswerView), "Result: running")
        if not self._past or self._past[-1] != sql:
            self._past.append(sql)
        self._place = len(self._past)
        self._remember(sql)
        self.run_worker(lambda: self._execute(sql), thread=True, exit_on_error=False, group="query")

    def _execute(self, sql: str) -> None:
        try:
            answer = query_process.ask(self.host.browse.path, sql)
        except StoreError as refused:
            self.app.call_from_thread(self._refused, str(refused))
        except Exception as defect:
            self.app.call_from_thread(self._refused, f"{type(defect).__name__}: {defect}")
        else:
            self.app.call_from_thread(self._answered, answer)

    def _refused(self, problem: str) -> None:
        self._pending = False
        view = self.query_one(AnswerView)
        entitle(view, "Result: refused")
        view.show_message(Text(clean(problem), self.host.palette.bad))

    def _answered(self, answer: queries.Answer) -> None:
        self._pending = False
        view = self.query_one(AnswerView)
        view.show(answer)
        rows = "1 row" if len(answer.rows) == 1 else f"{len(answer.rows):,} rows"
        title = f"Result: {rows}, {1000 * answer.seconds:.0f} ms"
        entitle(view, title + (f"; {answer.cut}" if answer.cut else ""))

    def _remember(self, sql: str) -> None:
        if self.host.options.read_only:
            return
        with suppress(OSError), open_log(self._file) as file:
            file.write(f"{json.dumps(sql)}\n".encode())

    def action_history(self, by: int) -> None:
        past = [*(sql for _, sql in reversed(queries.EXAMPLES)), *self._past]
        before = len(queries.EXAMPLES)
        text = self.query_one("#sql", TextArea).text
        if self._place == len(self._past):
            self._draft = text
        place = max(0, min(self._place + before + by, len(past)))
        while 0 < place < len(past) and past[place].strip() == text.strip():
            place += by  # a query that was run is still in the editor
        self._place = place - before
        self._put(past[place] if place < len(past) else self._draft)

    def _put(self, text: str) -> None:
        area = self.query_one("#sql", TextArea)
        area.text = text
        area.move_cursor(area.document.end)

    def action_complete(self) -> None:
        area = self.query_one("#sql", TextArea)
        if self.focused is not area:
            self.focus_next()
            return
        row, column = area.cursor_location
        line = area.document.get_line(row)[:column]
        word = re.search(r"\w*$", line)
        part = word[0] if word else ""
        last, matches, at = self._matches
        if part and part == last and matches:  # pressed again: the next match
            at = (at + 1) % len(matches)
        else:
            names = [*self._schema, *(c for own in self._schema.values() for c in own)]
            names += _KEYWORDS.split()
            lowered = part.lower()
            matches = [n for n in dict.fromkeys(names) if n.lower().startswith(lowered)]
            at = 0
        if not part or not matches:
            return
        self._matches = (matches[at], matches, at)
        area.replace(matches[at], (row, column - len(part)), (row, column))

    def copied(self) -> Copied | None:
        sql = self.query_one("#sql", TextArea).text.strip()
        return Copied("the query", sql) if sql else None

    def action_copy(self) -> None:
        answer = self.query_one(AnswerView).answer
        if answer is None:
            self.host.inform("no result to copy")
            return
        from dexter_tui.presentation.answers import csv_text

        self.app.copy_to_clipboard(csv_text(answer))
        count = len(answer.rows)
        self.host.inform("copied 1 row" if count == 1 else f"copied {count:,} rows")

    def action_back(self) -> None:
        self.host.query_draft = self.query_one("#sql", TextArea).text
        self.app.pop_screen()
