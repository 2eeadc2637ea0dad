"""The start of the dashboard: reads the settings, probes the terminal and runs the app."""

import os
import sys
from pathlib import Path

from dexter.errors import InputError
from dexter_tui import paths
from dexter_tui.dashboard.options import IMAGES, NOTICES, Options, misspelt
from dexter_tui.machine import terminal


def start(
    *,
    images: str,
    low_bandwidth: bool,
    read_only: bool,
    ascii_only: bool,
    theme: str | None,
    demo_devices: int,
) -> None:
    """Run the dashboard until the user quits. Raise InputError for a wrong flag or setting."""
    mode = next((known for known in IMAGES if known == images), None)
    if mode is None:
        raise InputError(
            f"unknown value {images!r}",
            field="--images",
            value=images,
            remedy=f"choose from {', '.join(IMAGES)}",
        )
    if os.environ.get("TERM") == "dumb":
        raise InputError(
            "TERM=dumb: this terminal cannot show the dashboard",
            remedy="use `dexter-tui runs` and `dexter-tui show`, or set TERM to its type",
        )
    settings = paths.settings("dashboard")
    keys = {name: str(value) for name, value in paths.settings("keys").items()}
    # Probe before Textual reads the terminal: a late reply would arrive as key presses.
    graphics = terminal.probe(mode)
    prepare_store(paths.home(), read_only=read_only)
    import_pillow()
    from dexter_tui.dashboard.app import DexterApp
    from dexter_tui.dashboard.remembered import Remembered

    chosen = Remembered(paths.home()).theme
    options = Options(
        images=mode,
        enlarged=graphics,
        low_bandwidth=low_bandwidth,
        read_only=read_only,
        demo_devices=demo_devices,
        ascii=ascii_only or not terminal.speaks_utf8(os.environ),
        no_colour=bool(os.environ.get("NO_COLOR")),
        theme=theme or str(settings.get("theme") or chosen or terminal.theme_for(os.environ)),
        theme_from="--theme" if theme else "config.toml" if settings.get("theme") else "",
        misspelt=tuple(misspelt(paths.all_settings())),
        keys=keys,
        notify=_notices(settings.get("notify", "")),
        on_finish=str(settings.get("on_finish", "")),
    )
    app = DexterApp(paths.home(), options)
    if theme is not None and theme not in app.available_themes:
        raise InputError(
            f"unknown theme {theme!r}",
            field="--theme",
            value=theme,
            remedy=f"choose from {', '.join(app.available_themes)}",
        )
    app.run()
    if app.return_code:
        sys.exit(app.return_code)


def import_pillow() -> None:
    """Import Pillow without numpy, which Pillow 10 imports for the name of a type alone: 11 MB."""
    absent = "numpy.typing" not in sys.modules
    if absent:
        sys.modules["numpy.typing"] = None  # type: ignore[assignment]
    import PIL.Image  # noqa: F401

    if absent:
        del sys.modules["numpy.typing"]


def _notices(given: object) -> tuple[str, ...]:
    """Return the kinds of notice of config.toml; raise InputError for an unknown one."""
    kinds = tuple(map(str, given)) if isinstance(given, list) else tuple(str(given).split())
    for kind in kinds:
        if kind not in NOTICES:
            raise InputError(
                f"config.toml, [dashboard]: notify does not know {kind!r}",
                value=kind,
                remedy=f"choose from {', '.join(NOTICES)}",
            )
    return kinds


def prepare_store(home: Path, *, read_only: bool) -> None:
    """Make a store where there is none, upgrade one of an older version; refuse a newer one.

    From then on the dashboard takes a missing store for one that was removed.
    """
    from store.reading.browse import Browse

    state = Browse(home).state_of_schema()
    if state == "new" or (state in ("none", "old") and not read_only):
        from dexter_tui.dashboard import operations

        operations.make_current(home)  # raises StoreError for a newer one
    elif state == "old":
        raise InputError(
            f"{home}: the store has an older version", remedy="start once without --read-only"
        )
