"""Opens the dashboard: reads its settings, asks the terminal what it can, and starts the app."""

import os
import sys
from pathlib import Path

from dexter.errors import InputError
from dexter_tui import paths
from dexter_tui.dashboard.options import IMAGES, Options
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
    """Run the dashboard until its user leaves it. InputError for a wrong flag or setting."""
    wanted = next((known for known in IMAGES if known == images), None)
    if wanted is None:
        raise InputError(f"--images: {images!r} is none of {', '.join(IMAGES)}")
    settings = paths.settings("dashboard")
    keys = {name: str(value) for name, value in paths.settings("keys").items()}
    # Asked before Textual reads the terminal: a late answer would arrive as key presses.
    terminal_can = terminal.probe(wanted)
    _check_store(paths.home(), read_only=read_only)
    from dexter_tui.dashboard.app import DexterApp

    options = Options(
        images=wanted,
        enlarged=terminal_can,
        low_bandwidth=low_bandwidth,
        read_only=read_only,
        demo_devices=demo_devices,
        ascii=ascii_only or not terminal.speaks_utf8(os.environ),
        no_colour=bool(os.environ.get("NO_COLOR")),
        theme=theme or str(settings.get("theme", terminal.theme_for(os.environ))),
        keys=keys,
    )
    app = DexterApp(paths.home(), options)
    if theme is not None and theme not in app.available_themes:
        raise InputError(f"--theme: {theme!r} is none of {', '.join(app.available_themes)}")
    app.run()
    if app.return_code:
        sys.exit(app.return_code)


def _check_store(home: Path, *, read_only: bool) -> None:
    """A store of an older version is brought up to date, one of a newer version refused."""
    from store.reading.browse import Browse

    state = Browse(home).state_of_schema()
    if state == "new" or (state == "old" and not read_only):
        from dexter_tui.dashboard import operations

        operations.upgrade(home)  # which tells what is wrong with a newer one
    elif state == "old":
        raise InputError(
            f"{home}: the store is of an older version; start once without --read-only"
        )
