"""The command `serve`: the dashboard in a browser, for those who tunnel a port."""

import os
import secrets
from typing import Annotated

import typer

from dexter.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command()(serve)


def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="address to listen on; loopback by default")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="port")] = 8420,
    write: Annotated[
        bool, typer.Option("--write", help="let pages start, change and delete; else read-only")
    ] = False,
) -> None:
    """Serve the dashboard to a browser.

    The printed address has a token, new at each start. On a remote machine, tunnel the port:
    ssh -L 8420:127.0.0.1:8420 HOST
    """
    try:
        from dexter_tui.cli.serve.server import DashboardServer
    except ImportError:
        raise InputError(
            "textual-serve is not installed", remedy="pip install 'dexter-tui[serve]'"
        ) from None
    options = ["--images", "blocks", *([] if write else ["--read-only"])]
    server = DashboardServer(host, port, secrets.token_urlsafe(24), options)
    try:
        server.run()
    except OSError as error:
        number = error.errno or 0  # below zero: what is wrong with the name of a host
        why = os.strerror(number).lower() if number > 0 else error.strerror or str(error)
        raise InputError(
            f"cannot listen on {host}:{port}: {why}",
            remedy="choose another --port or --host",
        ) from None
