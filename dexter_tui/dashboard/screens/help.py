"""The keys of a screen and of its focused widget, from the table of actions."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from dexter_tui.dashboard.actions import PLACES, bindings, of, sign
from dexter_tui.dashboard.host import host_of
from store.reading import filters

_INTRODUCTIONS = {
    "home": "All studies, newest first, with their runs (one for each seed). A study asks what one "
    "classifier looks for in one class.",
    "run": "Every page follows one cursor over the steps. A finished run can be replayed.",
    "gallery": "Previews of the search, then frames of the final prompt. A tick: taken for the "
    "class.",
    "chart": "Losses fall and p(class), the probability of the class, rises when a search goes "
    "well. Entropy falls as it settles on words.",
    "form": "Each setting is checked as you type. Up and down go from one to the next.",
    "study": "A study is one classifier, one class and one set of settings. Claims are tested on "
    "pairs of pictures that differ in one concept alone.",
    "comparisons": "Studies that are marked at home with space are compared by c; n asks which "
    "classifiers or studies. Both open a form, where searches that are missing can be asked for.",
    "matrix": "Every classifier is shown the same pictures. A tick: confirmed; a cross: refuted; "
    "each with its effect and interval.",
}


class HelpScreen(ModalScreen[None]):
    """Over the screen that it explains."""

    BINDINGS = bindings("page-help")

    def __init__(self, explained: Screen[object]) -> None:
        super().__init__()
        # Those that the focused widget answers to come first.
        ids = [b.binding.id or "" for b in explained.active_bindings.values()]
        found = dict.fromkeys(name.partition(".")[0] for name in ids if "." in name)
        self._places = [place for place in PLACES if place in found and place != "app"] + ["app"]
        self._ids = set(ids)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help"):
            yield Static(self._text())

    def action_back(self) -> None:
        self.dismiss()

    def _text(self) -> Text:

        app = host_of(self)
        palette, ascii_only = app.palette, app.options.ascii
        text = Text()
        for place in self._places:
            text.append(f"{PLACES[place]}\n", f"bold {palette.primary}")
            if told := _INTRODUCTIONS.get(place):
                text.append(f"{told}\n", palette.dim)
            for action in of(place):
                if action.id not in self._ids:
                    continue
                keys = " ".join(sign(key, ascii_only=ascii_only) for key in action.keys.split(","))
                text.append(f"{keys:>10}  ", f"bold {palette.accent}")
                text.append(f"{action.help}\n")
            text.append("\n")
        if "home" in self._places or "filter" in self._places:
            text.append("Filter\n", f"bold {palette.primary}")
            lines = (filters.__doc__ or "").split("\n\n")[1]
            text.append(f"{lines}\n\n")
        text.append("esc closes this", palette.dim)
        return text
