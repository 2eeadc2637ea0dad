"""The help: keys of a screen and its focused widget, from the table of actions."""

import textwrap

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from dexter_tui.dashboard.actions import PLACES, bindings, of, sign
from dexter_tui.dashboard.host import host_of
from store.reading import filters

_WIDTH = 82  # columns of the text
_KEYS = 12  # columns of the keys

_INTRODUCTIONS = {
    "home": "All studies, newest first, with their runs (one run per seed). A study finds out what "
    "a classifier looks for in a class.",
    "run": "All pages share a cursor over the steps. A finished run can be replayed.",
    "gallery": "The results: pictures of the best prompt, of this seed and others of the study. "
    "Then the samples of the search. A tick marks a hit: the answer that the run searches.",
    "log": "Times are local. Output of libraries counts as warnings.",
    "chart": "In a successful search, losses fall and p(class), the probability of the class, "
    "rises. Entropy falls as the search settles on words.",
    "start": "An audit shows a model pictures in which many concepts vary, and tests the strongest "
    "findings on pairs of pictures. Type an answer, or choose one with up and down.",
    "form": "Each setting is checked as you type; errors appear below it. Up and down change the "
    "setting.",
    "study": "A study is a classifier, a class and a set of settings. Claims are tested on picture "
    "pairs that differ in a single concept.",
    "comparisons": "To compare studies, mark them at home with space and press c. Press n to "
    "choose classifiers or studies in a form, which can also start missing searches.",
    "screenings": "A screening shows all classifiers the same pictures, which vary many concepts "
    "at once. A further classifier on the same concepts draws nothing.",
    "effects": "Each effect with its interval on a scale from -1 to 1. An effect that is explained "
    "goes through other concepts that are drawn along.",
    "data-reports": "What slices and debias found on labelled pictures, what-ifs and bias "
    "explanations. Press n or d for the first two; start the others on the command line, such as "
    "dexter-tui whatif --classifier lab:birds-biased --class waterbird.",
    "matrix": "All classifiers see the same pictures. A tick means confirmed, a cross refuted; "
    "each with effect and interval.",
}


class HelpScreen(ModalScreen[None]):
    """The help of a screen, shown over it."""

    BINDINGS = bindings("page-help")

    def __init__(self, explained: Screen[object]) -> None:
        super().__init__()
        # The keys of the focused widget come first.
        ids = [b.binding.id or "" for b in explained.active_bindings.values()]
        found = dict.fromkeys(name.partition(".")[0] for name in ids if "." in name)
        self._places = [place for place in PLACES if place in found and place != "app"] + ["app"]
        self._ids = set(ids)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help"):
            yield Static(id="help-text")

    def on_resize(self) -> None:
        # A text, and no table: the mouse can select it.
        width = min(_WIDTH, max(self.size.width - 12, 30))
        self.query_one("#help-text", Static).update(self._content(width))

    def action_back(self) -> None:
        self.dismiss()

    def _content(self, width: int) -> Text:
        app = host_of(self)
        palette, ascii_only = app.palette, app.options.ascii
        text = Text()
        for place in self._places:
            text.append(f"{PLACES[place]}\n", f"bold {palette.primary}")
            if introduction := _INTRODUCTIONS.get(place):
                text.append(f"{textwrap.fill(introduction, width)}\n", palette.dim)
            for action in of(place):
                if action.id not in self._ids:
                    continue
                keys = " ".join(sign(key, ascii_only=ascii_only) for key in action.keys.split(","))
                text.append(f"{keys:>{_KEYS}}  ", f"bold {palette.accent}")
                room = max(width - max(_KEYS, len(keys)) - 2, 20)
                indent = "\n" + " " * (_KEYS + 2)
                text.append(indent.join(textwrap.wrap(action.help.replace("`", ""), room)) + "\n")
            text.append("\n")
        if "home" in self._places or "filter" in self._places:
            text.append("Filter\n", f"bold {palette.primary}")
            text.append((filters.__doc__ or "").split("\n\n")[1]).append("\n\n")
        return text.append("esc closes the help", palette.dim)
