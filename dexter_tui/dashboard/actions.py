"""Every key of the dashboard, once: bindings, key bar, palette, help and docs/keys.md.

``python -m dexter_tui.dashboard.actions`` prints the reference in Markdown.
"""

# ruff: noqa: E501  (a table is read by its lines)

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    """What a key does in a place. ``name`` is the method ``action_NAME`` of the place's class."""

    place: str
    name: str
    keys: str
    """Textual's names, parted by commas; the first is shown."""
    label: str
    """Two words at most, for the key bar."""
    help: str
    """One sentence."""
    shown: bool = True
    """In the key bar."""
    changes: bool = False
    """Changes the store or its runs: refused with --read-only."""
    priority: bool = False
    """Goes before what the focused widget does with the key."""

    @property
    def id(self) -> str:
        """The name by which config.toml's [keys] gives it other keys."""
        return f"{self.place}.{self.name}".replace("(", ".").replace("'", "").replace(")", "")


# Titles of the places, in the order of the help.
PLACES = {
    "app": "Everywhere",
    "home": "Home",
    "list": "List of runs",
    "filter": "Filter",
    "pages": "Run and study",
    "run": "Run",
    "study": "Study",
    "claims": "Claims",
    "comparisons": "Comparisons",
    "compare": "Comparison",
    "matrix": "Comparison: claims",
    "pairs": "Comparison: pairs of pictures",
    "query": "Query",
    "chart": "Charts and words",
    "gallery": "Frames",
    "log": "Log",
    "form": "New run, new comparison",
    "form-row": "One setting of these",
    "picture": "Enlarged picture",
    "dialog": "Questions",
    "ask": "Entries",
    "note": "Notes",
    "page-help": "Help",
}

ACTIONS = (
    Action("app", "help", "question_mark,f1", "Help", "Show the keys of this screen."),
    Action("app", "command_palette", "ctrl+p", "Palette", "Find any action by its name."),
    Action("app", "jump", "ctrl+o", "Jump", "Put a letter on each panel; pressing it goes there.", shown=False),
    Action("app", "next_theme", "f2", "Theme", "Change the colours.", shown=False),
    Action("app", "screenshot", "f12", "Screenshot", "Save the screen as an SVG file.", shown=False),
    Action("app", "quit_app", "ctrl+q", "Quit", "Leave; runs go on.", shown=False),
    # Home
    Action("home", "open", "enter", "Open", "Open the selected run or study."),
    Action("home", "new", "n", "New", "Make runs: classifier, class, seeds, settings.", changes=True),
    Action("home", "demo", "d", "Demo", "Run the demo: a lab classifier with a planted bias.", changes=True),
    Action("home", "filter", "slash", "Filter", "Show only some runs: `state:running words~sea score>0.8`."),
    Action("home", "pause", "p", "Pause", "Pause the run, or let a paused one go on.", changes=True),
    Action("home", "cancel", "x", "Cancel", "Cancel the run or the marked runs, after asking.", changes=True),
    Action("home", "retry", "R", "Retry", "Queue a run again that failed, was cancelled or lost.", changes=True),
    Action("home", "preview", "v", "Preview", "Load the newest preview, with --low-bandwidth."),
    Action("home", "compare", "c", "Compare", "Compare the marked studies, or show the comparisons there are; new ones too."),
    Action("home", "query", "colon", "Query", "Ask the store a question in SQL."),
    Action("home", "sort", "s", "Sort", "Order by study, time, state, classifier, class, score, steps or words."),
    Action("home", "reverse", "S", "Reverse", "Turn the order round.", shown=False),
    Action("home", "prioritise(1)", "plus,equals_sign", "Sooner", "Raise the priority of a queued run.", shown=False, changes=True),
    Action("home", "prioritise(-1)", "minus", "Later", "Lower the priority of a queued run.", shown=False, changes=True),
    Action("home", "export", "e", "Export", "Write a Markdown report of the run, study or marked runs."),
    Action("home", "tag", "t", "Tag", "Give the run or the marked runs a tag, or take it away.", changes=True),
    Action("home", "note", "N", "Note", "Write down what is to be kept in mind about the run or study.", changes=True),
    Action("home", "archive", "a", "Archive", "Take runs out of the list, or put archived ones back; `tag:archived` shows them.", shown=False, changes=True),
    Action("home", "delete", "D", "Delete", "Delete runs and all that belongs to them, after asking twice.", shown=False, changes=True),
    Action("home", "copy_id", "y", "Copy id", "Copy the id to the clipboard.", shown=False),
    Action("home", "leave", "q", "Quit", "Leave; runs go on."),
    Action("home", "clear", "escape", "Clear", "Clear marks, then the filter.", shown=False),
    # List
    Action("list", "cursor(-1)", "up,k", "Up", "The run above.", shown=False),
    Action("list", "cursor(1)", "down,j", "Down", "The run below.", shown=False),
    Action("list", "page(-1)", "pageup,ctrl+b", "Page up", "A page up.", shown=False),
    Action("list", "page(1)", "pagedown,ctrl+f", "Page down", "A page down.", shown=False),
    Action("list", "ends(0)", "home,g", "First", "The first run.", shown=False),
    Action("list", "ends(1)", "end,G", "Last", "The last run.", shown=False),
    Action("list", "mark", "space", "Mark", "Mark or unmark; what is then done is done to all that are marked.", shown=False),
    Action("filter", "accept", "enter", "Apply", "Keep the filter and go to the list."),
    Action("filter", "drop", "escape", "Clear", "Clear the filter and go to the list."),
    # Pages of runs and studies
    Action("pages", "back", "escape,q", "Back", "Back to where you came from."),
    Action("pages", "tab(1)", "1", "Page 1", "The first page.", shown=False),
    Action("pages", "tab(2)", "2", "Page 2", "The second page.", shown=False),
    Action("pages", "tab(3)", "3", "Page 3", "The third page.", shown=False),
    Action("pages", "tab(4)", "4", "Page 4", "The fourth page.", shown=False),
    Action("pages", "tab(5)", "5", "Page 5", "The fifth page.", shown=False),
    Action("pages", "tab(6)", "6", "Page 6", "The sixth page.", shown=False),
    Action("pages", "next_tab", "tab", "Next page", "The next page.", priority=True),
    Action("pages", "previous_tab", "shift+tab", "Previous page", "The page before.", shown=False, priority=True),
    Action("run", "study", "s", "Study", "Open the study that the run belongs to."),
    Action("run", "replay", "space", "Replay", "Play the run from the cursor, or stop."),
    Action("run", "speed(-1)", "less_than_sign,comma", "Slower", "Play at half the speed.", shown=False),
    Action("run", "speed(1)", "greater_than_sign,full_stop", "Faster", "Play at twice the speed.", shown=False),
    Action("run", "step(-1)", "left,h", "Step back", "The cursor one step back.", shown=False),
    Action("run", "step(1)", "right,l", "Step on", "The cursor one step on.", shown=False),
    Action("run", "step(-10)", "shift+left,H", "10 back", "The cursor ten steps back.", shown=False),
    Action("run", "step(10)", "shift+right,L", "10 on", "The cursor ten steps on.", shown=False),
    Action("run", "first_step", "home", "First step", "The cursor to the first step.", shown=False),
    Action("run", "follow", "end", "Newest", "The cursor to the newest step, and along with it."),
    Action("run", "enlarge", "enter,z", "Enlarge", "Show the picture at the cursor as large as the terminal."),
    Action("run", "pause", "p", "Pause", "Pause the run, or let a paused one go on.", changes=True),
    Action("run", "cancel", "x", "Cancel", "Cancel the run, after asking.", changes=True),
    Action("run", "retry", "R", "Retry", "Queue a run again that failed, was cancelled or lost.", shown=False, changes=True),
    Action("run", "again", "n", "New like it", "A new run that starts from this one's settings.", shown=False, changes=True),
    Action("run", "export", "e", "Export", "Write a Markdown report of the run."),
    Action("run", "tag", "t", "Tag", "Give the run a tag, or take it away.", changes=True),
    Action("run", "note", "N", "Note", "Write down what is to be kept in mind about the run.", changes=True),
    Action("study", "open", "enter", "Open run", "Open the selected run."),
    Action("study", "report", "w", "Report", "Caption the frames, test the claims, write the report.", changes=True),
    Action("study", "export", "e", "Export", "Write a Markdown report of the study."),
    Action("study", "again", "n", "More seeds", "New runs that start from this study's settings.", changes=True),
    Action("study", "note", "N", "Note", "Write down what is to be kept in mind about the study.", changes=True),
    Action("claims", "cursor(-1)", "up,k", "Up", "The claim above.", shown=False),
    Action("claims", "cursor(1)", "down,j", "Down", "The claim below.", shown=False),
    Action("comparisons", "back", "escape,q", "Back", "Back to where you came from."),
    Action("comparisons", "new", "n", "New", "Compare classifiers or studies: which, on what class, with what settings.", changes=True),
    Action("comparisons", "note", "N", "Note", "Write down what is to be kept in mind about the comparison.", changes=True),
    Action("comparisons", "delete", "D", "Delete", "Delete the comparison, after asking twice.", changes=True),
    Action("compare", "shown", "f", "Differ", "Show all concepts, those in which the classifiers differ, or those in which they agree."),
    Action("compare", "baseline", "b", "Baseline", "Hold the others against the classifier under the cursor, or all against all.", changes=True),
    Action("compare", "export", "e", "Export", "Write a Markdown report of the comparison.", shown=False),
    Action("matrix", "open", "enter,z", "Pictures", "Show the pairs of pictures behind the claim."),
    Action("matrix", "move(-1, 0)", "left,h", "Left", "The classifier to the left.", shown=False),
    Action("matrix", "move(1, 0)", "right,l", "Right", "The classifier to the right.", shown=False),
    Action("matrix", "move(0, -1)", "up,k", "Up", "The concept above.", shown=False),
    Action("matrix", "move(0, 1)", "down,j", "Down", "The concept below.", shown=False),
    Action("pairs", "turn(-1)", "left,h", "Previous", "The pair before."),
    Action("pairs", "turn(1)", "right,l", "Next", "The next pair."),
    Action("pairs", "back", "escape,q,enter,z", "Back", "Back to the matrix."),
    Action("query", "run", "f5,ctrl+r", "Run", "Ask the question.", priority=True),
    Action("query", "complete", "tab", "Complete", "Complete the word before the cursor; again for the next that fits.", priority=True),
    Action("query", "history(-1)", "ctrl+up,f3", "Earlier", "The question before, of those asked.", priority=True),
    Action("query", "history(1)", "ctrl+down,f4", "Later", "The question after.", shown=False, priority=True),
    Action("query", "copy", "f6", "Copy", "Copy the answer to the clipboard, as CSV.", priority=True),
    Action("query", "back", "escape", "Back", "Back to where you came from.", priority=True),
    Action("chart", "log_scale", "g", "Log scale", "Losses that stay above 0 on a logarithmic scale, or back."),
    Action("chart", "zoom(2)", "plus,equals_sign", "Zoom in", "Half as many steps, around the cursor.", shown=False),
    Action("chart", "zoom(-2)", "minus", "Zoom out", "Twice as many steps.", shown=False),
    Action("chart", "zoom(0)", "0", "All steps", "All steps again.", shown=False),
    Action("chart", "scroll_up", "up,k", "Up", "Scroll up.", shown=False),
    Action("chart", "scroll_down", "down,j", "Down", "Scroll down.", shown=False),
    Action("chart", "page_up", "pageup", "Page up", "Scroll a page up.", shown=False),
    Action("chart", "page_down", "pagedown", "Page down", "Scroll a page down.", shown=False),
    Action("gallery", "move(-1, 0)", "left,h", "Left", "The picture to the left.", shown=False),
    Action("gallery", "move(1, 0)", "right,l", "Right", "The picture to the right.", shown=False),
    Action("gallery", "move(0, -1)", "up,k", "Up", "The picture above.", shown=False),
    Action("gallery", "move(0, 1)", "down,j", "Down", "The picture below.", shown=False),
    Action("gallery", "resize(1)", "plus,equals_sign", "Larger", "Larger tiles.", shown=False),
    Action("gallery", "resize(-1)", "minus", "Smaller", "Smaller tiles.", shown=False),
    Action("log", "wrap", "w", "Wrap", "Break long lines, or not.", shown=False),
    # Form
    Action("form", "start", "ctrl+s", "Start", "Queue the runs, or start the comparison.", priority=True, changes=True),
    Action("form", "back", "escape", "Back", "Leave the form; nothing is started."),
    Action("form", "take", "tab", "Complete", "Take the first of what is offered, and go on.", priority=True),
    Action("form", "only_changed", "f3", "Changed", "Show only what differs from the preset, or all."),
    Action("form-row", "row(-1)", "up,shift+tab", "Up", "The setting above.", shown=False),
    Action("form-row", "row(1)", "down,enter", "Down", "The setting below.", shown=False),
    Action("form-row", "row(-10)", "pageup", "Page up", "Ten settings up.", shown=False),
    Action("form-row", "row(10)", "pagedown", "Page down", "Ten settings down.", shown=False),
    Action("form-row", "turn(-1)", "left", "Left", "The value before, or the caret to the left.", shown=False),
    Action("form-row", "turn(1)", "right", "Right", "The next value, or the caret to the right.", shown=False),
    Action("form-row", "caret(0)", "home,ctrl+a", "Beginning", "The caret before the first letter.", shown=False),
    Action("form-row", "caret(1)", "end,ctrl+e", "End", "The caret behind the last letter.", shown=False),
    Action("form-row", "erase('before')", "backspace", "Erase", "The letter before the caret.", shown=False),
    Action("form-row", "erase('under')", "delete", "Erase", "The letter under the caret.", shown=False),
    Action("form-row", "erase('all')", "ctrl+u", "Empty", "All of the value: the preset's counts again.", shown=False),
    Action("picture", "back", "escape,q,enter,z", "Back", "Back to where you came from."),
    Action("picture", "turn(-1)", "left,h", "Previous", "The picture before."),
    Action("picture", "turn(1)", "right,l", "Next", "The next picture."),
    Action("ask", "back", "escape", "Back", "Close without doing anything."),
    Action("note", "save", "ctrl+s", "Save", "Keep the note; an empty one is taken away.", priority=True),
    Action("note", "back", "escape", "Back", "Close; the note stays as it was.", priority=True),
    Action("page-help", "back", "escape,q,question_mark,f1", "Close", "Close the help."),
    Action("dialog", "back", "escape,n", "No", "Close without doing anything."),
    Action("dialog", "yes", "y", "Yes", "Do it."),
)  # fmt: skip


def of(place: str) -> Iterator[Action]:
    """The actions of a place."""
    return (action for action in ACTIONS if action.place == place)


def bindings(*places: str) -> list[BindingType]:
    """What a class of these places answers to."""
    return [
        Binding(
            action.keys,
            action.name,
            action.label,
            show=action.shown,
            tooltip=action.help,
            priority=action.priority,
            id=action.id,
        )
        for place in places
        for action in of(place)
    ]


_KEY_SIGNS = {
    "question_mark": "?", "slash": "/", "colon": ":", "plus": "+", "minus": "-", "equals_sign": "=",
    "less_than_sign": "<", "greater_than_sign": ">", "comma": ",", "full_stop": ".",
    "pageup": "pgup", "pagedown": "pgdn", "escape": "esc", "left": "←", "right": "→",
    "up": "↑", "down": "↓", "shift+left": "⇧←", "shift+right": "⇧→", "shift+tab": "⇧tab",
}  # fmt: skip
_PLAIN_SIGNS = {"←": "left", "→": "right", "↑": "up", "↓": "down"}


def sign(key: str, *, ascii_only: bool = False) -> str:
    """A key as a keyboard shows it."""
    text = _KEY_SIGNS.get(key, key)
    if text.startswith("ctrl+"):
        text = f"^{text[5:]}"
    if ascii_only:
        text = _PLAIN_SIGNS.get(text, text.replace("⇧", "shift+"))
        text = text.replace("←", "left").replace("→", "right")
    return text


def reference() -> str:
    """All keys in Markdown."""
    lines = [
        "# Keys of the dashboard",
        "",
        "Made by `python -m dexter_tui.dashboard.actions` from the table that the dashboard itself uses.",
        "Other keys can be given in `config.toml`, by the names in the last column:",
        "",
        "```toml",
        "[keys]",
        '"home.cancel" = "ctrl+x"',
        "```",
    ]
    for place, title in PLACES.items():
        lines += ["", f"## {title}", "", "| Key | What it does | Name |", "|---|---|---|"]
        for action in of(place):
            keys = " ".join(f"`{sign(key)}`" for key in action.keys.split(","))
            lines.append(f"| {keys} | {action.help} | `{action.id}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
