"""Every key of the dashboard, once: bindings, key bar, palette, help and docs/keys.md.

``python -m dexter_tui.dashboard.actions`` prints the reference in Markdown.
"""

# ruff: noqa: E501  (a table is read by its lines)

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    """A key of a place and its effect. ``name`` is the method ``action_NAME`` of the place's class."""

    place: str
    name: str
    keys: str
    """Textual's names, separated by commas; the first is shown."""
    label: str
    """Two words at most, for the key bar."""
    help: str
    """One sentence."""
    shown: bool = True
    """Shown in the key bar."""
    changes: bool = False
    """Changes the store or its runs: refused with --read-only."""
    priority: bool = False
    """Takes the key before the focused widget does."""

    @property
    def id(self) -> str:
        """The name that the table [keys] of config.toml uses to assign other keys."""
        return f"{self.place}.{self.name}".replace("(", ".").replace("'", "").replace(")", "")


# The places with their titles, in the order of the help.
PLACES = {
    "app": "Everywhere",
    "home": "Home",
    "list": "List of runs",
    "filter": "Filter",
    "search": "Search",
    "columns": "Columns of the list",
    "filters": "Saved filters",
    "choices": "A list in a dialog",
    "items": "Lists of comparisons, screenings, reports",
    "pages": "Run and study",
    "run": "Run",
    "study": "Study",
    "claims": "Claims",
    "comparisons": "Comparisons",
    "compare": "Comparison",
    "matrix": "Comparison: claims",
    "pairs": "Picture pairs",
    "screenings": "Screenings",
    "screening": "Screening",
    "effects": "Screening: effects",
    "question": "Screening: a question",
    "questions": "Screening: answers",
    "data-reports": "Reports on pictures",
    "data-report": "Report on pictures",
    "devices": "Devices",
    "query": "Query",
    "chart": "Charts",
    "steps": "Charts and words",
    "gallery": "Frames",
    "log": "Log",
    "start": "New audit",
    "answer": "Answer",
    "form": "New run, comparison, screening",
    "form-row": "A setting of the form",
    "picture": "Enlarged picture",
    "dialog": "Confirmation",
    "ask": "Text entry",
    "choose": "Choice",
    "note": "Notes",
    "page-help": "Help",
}

ACTIONS = (
    Action("app", "help", "question_mark,f1", "Help", "Show the keys of this screen."),
    Action("app", "command_palette", "ctrl+p", "Palette", "Find an action by name."),
    Action("app", "jump", "ctrl+o", "Jump", "Label each panel with a letter; press it to go there.", shown=False),
    Action("app", "copy", "y", "Copy", "Copy the text selected with the mouse, else what the cursor is on: an id, prompt, path, claim or log.", shown=False),
    Action("app", "choose_theme", "f2", "Theme", "Choose a theme, with a preview; it is remembered.", shown=False),
    Action("app", "screenshot", "f12", "Screenshot", "Save the screen as an SVG file.", shown=False),
    Action("app", "quit_app", "ctrl+q", "Quit", "Quit; runs continue.", shown=False),
    # Home
    Action("home", "open", "enter", "Open", "Open the selected run or study."),
    Action("home", "screenings", "i", "Audits", "List the audits and screenings, each with what was found."),
    Action("home", "new", "n", "New", "Audit a model: which model, which class, which generator?", changes=True),
    Action("home", "demo", "d", "Demo", "Run the demo: two lab classifiers, one with a planted bias.", changes=True),
    Action("home", "pause", "p", "Pause", "Pause or resume the run.", changes=True),
    Action("home", "cancel", "x", "Cancel", "Cancel the run or the marked runs; asks first.", changes=True),
    Action("home", "retry", "R", "Retry", "Queue a failed, cancelled or lost run again.", changes=True),
    Action("home", "filter", "slash", "Filter", "Show matching runs only, such as `state:running words~sea`; n and N go to matches."),
    Action("home", "preview", "v", "Preview", "Load the newest preview (with --low-bandwidth)."),
    Action("home", "compare", "c", "Compare", "Compare the marked studies, or list all comparisons."),
    Action("home", "data_reports", "b", "Pictures", "List the slices, debiasings, what-ifs and bias explanations.", shown=False),
    Action("home", "query", "colon", "Query", "Query the store with read-only SQL."),
    Action("home", "devices", "m", "Devices", "Show devices here and at places: load, memory, temperature, power, runs.", shown=False),
    Action("home", "sort", "s", "Sort", "Sort by the next column; a click on a title sorts by it."),
    Action("home", "filters", "f", "Filters", "Choose a saved filter, or save the current one."),
    Action("home", "columns", "C", "Columns", "Choose columns, their widths and the order."),
    Action("home", "reverse", "S", "Reverse", "Reverse the order.", shown=False),
    Action("home", "prioritise(1)", "plus,equals_sign", "Sooner", "Raise the priority of a queued run.", shown=False, changes=True),
    Action("home", "prioritise(-1)", "minus", "Later", "Lower the priority of a queued run.", shown=False, changes=True),
    Action("home", "export", "e", "Export", "Write the run, study or marked runs as Markdown, HTML or a bundle; asks where.", changes=True),
    Action("home", "tag", "t", "Tag", "Add or remove a tag on the run or the marked runs.", changes=True),
    Action("home", "note", "N", "Note", "Edit the note on the run or study.", changes=True),
    Action("home", "archive", "a", "Archive", "Archive or restore runs; the filter `tag:archived` shows archived runs.", shown=False, changes=True),
    Action("home", "delete", "D", "Delete", "Delete runs with all their data; asks twice.", shown=False, changes=True),
    Action("home", "leave", "q", "Quit", "Quit; runs continue."),
    Action("home", "clear", "escape", "Clear", "Clear the marks, then the filter.", shown=False),
    # List
    Action("list", "cursor(-1)", "up,k", "Up", "Select the run above.", shown=False),
    Action("list", "cursor(1)", "down,j", "Down", "Select the run below.", shown=False),
    Action("list", "page(-1)", "pageup,ctrl+b", "Page up", "Move up one page.", shown=False),
    Action("list", "page(1)", "pagedown,ctrl+f", "Page down", "Move down one page.", shown=False),
    Action("list", "ends(0)", "home,g", "First", "Select the first run.", shown=False),
    Action("list", "ends(1)", "end,G", "Last", "Select the last run.", shown=False),
    Action("list", "mark", "space", "Mark", "Mark or unmark the run; actions then apply to all marked runs.", shown=False),
    Action("filter", "accept", "enter", "Apply", "Keep the filter and go to the list."),
    Action("filter", "drop", "escape", "Clear", "Clear the filter and return to the list."),
    # Search; these keys come before those of the screen
    Action("search", "next_match", "n", "Next", "Go to the next match, while something is searched for."),
    Action("search", "previous_match", "N", "Previous", "Go to the previous match, while something is searched for."),
    Action("search", "end_search", "escape", "End search", "End the search."),
    Action("search", "search", "slash", "Search", "Search the list or text."),
    Action("columns", "switch", "space", "Show", "Show or hide the column."),
    Action("columns", "resize(-1)", "left,h", "Narrower", "Make the column narrower."),
    Action("columns", "resize(1)", "right,l", "Wider", "Make the column wider."),
    Action("columns", "sort", "s", "Sort", "Sort by the column; again to reverse."),
    Action("columns", "reset", "r", "Reset", "Show all columns with their usual widths."),
    Action("columns", "back", "escape,q,C", "Close", "Close the dialog."),
    Action("filters", "save", "s", "Save", "Save the current filter under a name."),
    Action("filters", "delete", "D", "Delete", "Delete the saved filter."),
    Action("filters", "back", "escape,q,f", "Close", "Close the dialog."),
    Action("choices", "cursor(-1)", "up,k", "Up", "Go up.", shown=False),
    Action("choices", "cursor(1)", "down,j", "Down", "Go down.", shown=False),
    Action("choices", "open", "enter", "Choose", "Choose the line at the cursor."),
    Action("items", "open", "enter", "Open", "Open what is selected."),
    Action("items", "cursor(-1)", "up,k", "Up", "Go up.", shown=False),
    Action("items", "cursor(1)", "down,j", "Down", "Go down.", shown=False),
    Action("items", "page(-1)", "pageup,ctrl+b", "Page up", "Go up one page.", shown=False),
    Action("items", "page(1)", "pagedown,ctrl+f", "Page down", "Go down one page.", shown=False),
    Action("items", "ends(0)", "home,g", "First", "Go to the first one.", shown=False),
    Action("items", "ends(1)", "end,G", "Last", "Go to the last one.", shown=False),
    # Pages of runs and studies
    Action("pages", "back", "escape,q", "Back", "Return to the previous screen."),
    Action("pages", "tab(1)", "1", "Page 1", "Show page 1.", shown=False),
    Action("pages", "tab(2)", "2", "Page 2", "Show page 2.", shown=False),
    Action("pages", "tab(3)", "3", "Page 3", "Show page 3.", shown=False),
    Action("pages", "tab(4)", "4", "Page 4", "Show page 4.", shown=False),
    Action("pages", "tab(5)", "5", "Page 5", "Show page 5.", shown=False),
    Action("pages", "tab(6)", "6", "Page 6", "Show page 6.", shown=False),
    Action("pages", "next_tab", "tab", "Next page", "Show the next page.", priority=True),
    Action("pages", "previous_tab", "shift+tab", "Previous page", "Show the previous page.", shown=False, priority=True),
    Action("run", "study", "s", "Study", "Open the study of the run."),
    Action("run", "replay", "space", "Replay", "Play the run from the cursor, or stop playing."),
    Action("run", "speed(-1)", "less_than_sign,comma", "Slower", "Play more slowly.", shown=False),
    Action("run", "speed(1)", "greater_than_sign,full_stop", "Faster", "Play faster.", shown=False),
    Action("run", "step(-1)", "left,h", "Step back", "Move the cursor 1 step back.", shown=False),
    Action("run", "step(1)", "right,l", "Step forward", "Move the cursor 1 step forward.", shown=False),
    Action("run", "step(-10)", "shift+left,H", "10 back", "Move the cursor 10 steps back.", shown=False),
    Action("run", "step(10)", "shift+right,L", "10 forward", "Move the cursor 10 steps forward.", shown=False),
    Action("run", "first_step", "home", "First step", "Move the cursor to the first step.", shown=False),
    Action("run", "follow", "end", "Newest", "Move the cursor to the newest step and follow it."),
    Action("run", "enlarge", "enter,z", "Enlarge", "Show the picture at the cursor in the whole terminal."),
    Action("run", "pause", "p", "Pause", "Pause or resume the run.", changes=True),
    Action("run", "cancel", "x", "Cancel", "Cancel the run; asks first.", changes=True),
    Action("run", "retry", "R", "Retry", "Queue a failed, cancelled or lost run again.", shown=False, changes=True),
    Action("run", "again", "n", "New like it", "Start a new run from these settings.", shown=False, changes=True),
    Action("run", "export", "e", "Export", "Write the run as Markdown, HTML or a bundle; asks where.", changes=True),
    Action("run", "tag", "t", "Tag", "Add or remove a tag.", changes=True),
    Action("run", "note", "N", "Note", "Edit the note on the run.", changes=True),
    Action("study", "open", "enter", "Open run", "Open the selected run."),
    Action("study", "report", "w", "Report", "Caption the frames, test the claims and write the report.", changes=True),
    Action("study", "cancel", "x", "Cancel", "Cancel the report; what it has tested stays.", changes=True),
    Action("study", "export", "e", "Export", "Write the study as Markdown, HTML or a bundle; asks where.", changes=True),
    Action("study", "again", "n", "More seeds", "Start more runs with the settings of this study.", changes=True),
    Action("study", "note", "N", "Note", "Edit the note on the study.", changes=True),
    Action("claims", "open", "enter,z", "Pictures", "Show the picture pairs behind the claim."),
    Action("claims", "cursor(-1)", "up,k", "Up", "Select the claim above.", shown=False),
    Action("claims", "cursor(1)", "down,j", "Down", "Select the claim below.", shown=False),
    Action("comparisons", "back", "escape,q", "Back", "Return to the previous screen."),
    Action("comparisons", "new", "n", "New", "Compare classifiers or studies: choose them, the class and the settings.", changes=True),
    Action("comparisons", "note", "N", "Note", "Edit the note on the comparison.", changes=True),
    Action("comparisons", "delete", "D", "Delete", "Delete the comparison; asks twice.", changes=True),
    Action("compare", "shown", "f", "Differ", "Show all concepts, those that differ between classifiers, or those that agree."),
    Action("compare", "baseline", "b", "Baseline", "Compare all others with the classifier under the cursor, or each with each.", changes=True),
    Action("compare", "cancel", "x", "Cancel", "Cancel the comparison; what it has tested stays.", changes=True),
    Action("compare", "retry", "R", "Retry", "Continue a failed or cancelled comparison.", shown=False, changes=True),
    Action("compare", "export", "e", "Export", "Write the comparison as Markdown, HTML or a bundle; asks where.", shown=False, changes=True),
    Action("matrix", "open", "enter,z", "Pictures", "Show the picture pairs behind the claim."),
    Action("matrix", "move(-1, 0)", "left,h", "Left", "Select the classifier to the left.", shown=False),
    Action("matrix", "move(1, 0)", "right,l", "Right", "Select the classifier to the right.", shown=False),
    Action("matrix", "move(0, -1)", "up,k", "Up", "Select the concept above.", shown=False),
    Action("matrix", "move(0, 1)", "down,j", "Down", "Select the concept below.", shown=False),
    Action("pairs", "turn(-1)", "left,h", "Previous", "Show the previous pair."),
    Action("pairs", "turn(1)", "right,l", "Next", "Show the next pair."),
    Action("pairs", "sort", "s", "Sort", "Sort by largest change, smallest change or seed."),
    Action("pairs", "difference", "d", "Difference", "Show or hide the heat map of the change."),
    Action("pairs", "back", "escape,q,enter,z", "Back", "Return to the claims."),
    Action("screenings", "back", "escape,q", "Back", "Return to the previous screen."),
    Action("screenings", "new", "n", "New", "Screen classifiers: choose them, the class, the concepts and the settings.", changes=True),
    Action("screenings", "note", "N", "Note", "Edit the note on the screening.", changes=True),
    Action("screenings", "delete", "D", "Delete", "Delete the screening; asks twice. Its pictures stay.", changes=True),
    Action("screening", "shown", "f", "All", "Show all concepts, or only those that have an effect."),
    Action("screening", "ask", "a", "Ask", "Guess the classifier's answer to words of your own, without drawing."),
    Action("screening", "cancel", "x", "Cancel", "Cancel the screening; its pictures stay.", changes=True),
    Action("screening", "retry", "R", "Retry", "Queue a failed or cancelled screening again.", shown=False, changes=True),
    Action("screening", "export", "e", "Export", "Write the screening as Markdown, HTML or a bundle; asks where.", shown=False, changes=True),
    Action("effects", "open", "enter,z", "Pictures", "Show the picture pairs behind the effect."),
    Action("effects", "cursor(-1)", "up,k", "Up", "Select the concept above.", shown=False),
    Action("effects", "cursor(1)", "down,j", "Down", "Select the concept below.", shown=False),
    Action("effects", "turn(-1)", "left,h", "Previous", "Show the previous classifier."),
    Action("effects", "turn(1)", "right,l", "Next", "Show the next classifier."),
    Action("question", "submit", "enter", "Ask", "Guess the answer to the text, or name the unit."),
    Action("questions", "probe", "f5", "Probe", "Test the selected question on pictures; the result appears beside its answer.", changes=True),
    Action("questions", "app.copy", "f6", "Copy", "Copy the selected answer."),
    Action("questions", "cursor(-1)", "up", "Newer", "Select the answer above.", shown=False),
    Action("questions", "cursor(1)", "down", "Older", "Select the answer below.", shown=False),
    Action("questions", "page(-1)", "pageup", "Page up", "Go up one page.", shown=False),
    Action("questions", "page(1)", "pagedown", "Page down", "Go down one page.", shown=False),
    Action("questions", "back", "escape", "Back", "Return to the screening."),
    Action("data-reports", "back", "escape,q", "Back", "Return to the previous screen."),
    Action("data-reports", "new('slices')", "n", "Slice", "Find slices: choose the classifier, the labelled pictures and the concepts.", changes=True),
    Action("data-reports", "new('debias')", "d", "Debias", "Debias a classifier: choose it, the labelled pictures and the concepts.", changes=True),
    Action("data-reports", "new('whatif')", "w", "What-if", "Find the smallest change of words that flips a decision: choose the classifier, the class and a picture.", changes=True),
    Action("data-reports", "new('explain-bias')", "b", "Bias", "Explain which attributes of people change the answers: choose the classifier and the class.", changes=True),
    Action("data-reports", "note", "N", "Note", "Edit the note on the report.", changes=True),
    Action("data-reports", "delete", "D", "Delete", "Delete the report and its files; asks twice.", changes=True),
    Action("data-report", "cancel", "x", "Cancel", "Cancel the job; what it has done stays.", changes=True),
    Action("data-report", "retry", "R", "Retry", "Continue a failed or cancelled job.", shown=False, changes=True),
    Action("data-report", "export", "e", "Export", "Write the report as Markdown, HTML or a bundle; asks where.", shown=False, changes=True),
    Action("devices", "back", "escape,q,m", "Back", "Return to the previous screen."),
    Action("query", "run", "f5,ctrl+r", "Run", "Run the query.", priority=True),
    Action("query", "complete", "tab", "Complete", "Complete the word before the cursor; press again for the next match.", priority=True),
    Action("query", "history(-1)", "f3,ctrl+up", "Earlier", "Show the previous query.", priority=True),
    Action("query", "history(1)", "f4,ctrl+down", "Later", "Show the next query.", shown=False, priority=True),
    Action("query", "copy", "f6", "Copy", "Copy the result to the clipboard as CSV.", priority=True),
    Action("query", "back", "escape", "Back", "Return to the previous screen; the draft is kept.", priority=True),
    Action("chart", "log_scale", "g", "Log", "Switch charts of positive numbers between a linear and a logarithmic scale."),
    Action("chart", "smooth", "m", "Smooth", "Show moving averages: lightly smoothed, strongly smoothed, or none."),
    Action("chart", "beside", "o", "Seeds", "Chart the other seeds of the study with the run, the runs marked in the list, or the run alone."),
    Action("steps", "zoom(2)", "plus,equals_sign", "Zoom", "Show half as many steps around the cursor."),
    Action("steps", "zoom(-2)", "minus", "Zoom out", "Show twice as many steps.", shown=False),
    Action("steps", "zoom(0)", "0", "All steps", "Show all steps.", shown=False),
    Action("steps", "scroll_up", "up,k", "Up", "Scroll up.", shown=False),
    Action("steps", "scroll_down", "down,j", "Down", "Scroll down.", shown=False),
    Action("steps", "page_up", "pageup", "Page up", "Scroll up one page.", shown=False),
    Action("steps", "page_down", "pagedown", "Page down", "Scroll down one page.", shown=False),
    Action("gallery", "move(-1, 0)", "left,h", "Left", "Select the picture to the left.", shown=False),
    Action("gallery", "move(1, 0)", "right,l", "Right", "Select the picture to the right.", shown=False),
    Action("gallery", "move(0, -1)", "up,k", "Up", "Select the picture above.", shown=False),
    Action("gallery", "move(0, 1)", "down,j", "Down", "Select the picture below.", shown=False),
    Action("gallery", "resize(1)", "plus,equals_sign", "Larger", "Enlarge the tiles.", shown=False),
    Action("gallery", "resize(-1)", "minus", "Smaller", "Shrink the tiles.", shown=False),
    Action("log", "level", "f", "Level", "Show all lines, warnings and errors, or errors alone."),
    Action("log", "wrap", "w", "Wrap", "Wrap long lines, or not."),
    # Guided start
    Action("answer", "submit", "enter", "Next", "Take the answer at the cursor and go to the next question."),
    Action("start", "take", "enter", "Start", "Start the audit.", changes=True),
    Action("start", "complete", "tab", "Complete", "Complete the path or name."),
    Action("start", "cursor(-1)", "up", "Up", "Select the answer above.", shown=False),
    Action("start", "cursor(1)", "down", "Down", "Select the answer below.", shown=False),
    Action("start", "cursor(-10)", "pageup", "Page up", "Go 10 answers up.", shown=False),
    Action("start", "cursor(10)", "pagedown", "Page down", "Go 10 answers down.", shown=False),
    Action("start", "advanced", "f4", "Advanced", "Open the form of a search, with all settings."),
    Action("start", "back", "escape", "Back", "Return to the question before; from the first one, leave."),
    # Form
    Action("form", "start", "ctrl+s", "Start", "Queue the runs, the comparison or the screening.", changes=True),
    Action("form", "back", "escape", "Back", "Leave the form without starting anything; asks before it discards."),
    Action("form", "take", "tab", "Complete", "Complete the value, or go to the next setting if it is complete."),
    Action("form", "only_changed", "f3", "Changed", "Show only settings that you filled in, or all."),
    Action("form-row", "row(-1)", "up,shift+tab", "Up", "Go to the setting above.", shown=False),
    Action("form-row", "row(1)", "down,enter", "Down", "Go to the setting below.", shown=False),
    Action("form-row", "row(-10)", "pageup", "Page up", "Go 10 settings up.", shown=False),
    Action("form-row", "row(10)", "pagedown", "Page down", "Go 10 settings down.", shown=False),
    Action("form-row", "undo", "ctrl+z", "Undo", "Undo the last edit of the setting.", shown=False),
    Action("form-row", "turn(-1)", "left", "Previous", "Choose the previous value, or move the caret left.", shown=False),
    Action("form-row", "turn(1)", "right", "Next", "Choose the next value, or move the caret right.", shown=False),
    Action("picture", "back", "escape,q,enter,z", "Back", "Return to the previous screen."),
    Action("picture", "turn(-1)", "left,h", "Previous", "Show the previous picture."),
    Action("picture", "turn(1)", "right,l", "Next", "Show the next picture."),
    Action("ask", "back", "escape", "Back", "Close without any change."),
    Action("choose", "back", "escape,q", "Back", "Close without any change."),
    Action("note", "save", "ctrl+s", "Save", "Save the note; an empty note is removed.", priority=True),
    Action("note", "back", "escape", "Back", "Close without saving.", priority=True),
    Action("page-help", "app.copy", "y", "Copy", "Copy the text selected with the mouse.", shown=False),
    Action("page-help", "back", "escape,q,question_mark,f1", "Close", "Close the help."),
    Action("dialog", "back", "escape,n", "No", "Close without any change."),
    Action("dialog", "yes", "y", "Yes", "Confirm."),
)  # fmt: skip


def of(place: str) -> Iterator[Action]:
    """Return the actions of a place."""
    return (action for action in ACTIONS if action.place == place)


def bindings(*places: str) -> list[BindingType]:
    """Return the bindings for a class that serves these places."""
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
    """Return a key as it is printed on a keyboard."""
    text = _KEY_SIGNS.get(key, key)
    if text.startswith("ctrl+"):
        text = f"^{text[5:]}"
    if ascii_only:
        text = _PLAIN_SIGNS.get(text, text.replace("⇧", "shift+"))
        text = text.replace("←", "left").replace("→", "right")
    return text


def reference() -> str:
    """Return all keys as Markdown."""
    lines = [
        "# Keys of the dashboard",
        "",
        "Generated by `python -m dexter_tui.dashboard.actions` from the table that the dashboard uses.",
        "To change a key, use the name in the last column in `config.toml`:",
        "",
        "```toml",
        "[keys]",
        '"home.cancel" = "ctrl+x"',
        "```",
        "",
        "The table `[dashboard]` of the same file has `theme`, `notify` (signals of the terminal when a run or job ends, beside",
        "the notice on the screen: any of `bell`, `osc9`, `osc777`) and `on_finish` (a command that is then started, with",
        "`DEXTER_ID` and `DEXTER_STATE` in its environment, at most 4 at a time). A theme that is chosen in the dashboard is",
        "remembered in `dashboard.json`, and used where neither `--theme` nor `config.toml` names one:",
        "",
        "```toml",
        "[dashboard]",
        'notify = "bell osc9"',
        """on_finish = "sh -c 'echo $DEXTER_ID $DEXTER_STATE >> ~/ended.txt'\"""",
        "```",
        "",
        "Columns, order and saved filters of the list of runs are remembered in `dashboard.json` beside it.",
    ]
    for place, title in PLACES.items():
        lines += ["", f"## {title}", "", "| Key | Action | Name |", "|---|---|---|"]
        for action in of(place):
            keys = " ".join(f"`{sign(key)}`" for key in action.keys.split(","))
            lines.append(f"| {keys} | {action.help} | `{action.id}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
