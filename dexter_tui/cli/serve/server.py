"""The dashboard in a browser: one process of the dashboard for each page that is open.

textual-serve carries the terminal; this adds what a shared machine needs: a token, a limit on
pages, addresses that follow a tunnel, and a page that asks nothing of other hosts.
"""

import asyncio
import hmac
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import aiohttp_jinja2
from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from dexter_tui.cli.output import print_text

PAGES = 8  # dashboards at a time, each a process of some 100 MB
QUIT_SECONDS = 10.0  # after which a dashboard that is to end is killed
QUERY = "token"
_HEADERS = {
    # The page's own scripts and styles are within it; everything else comes from this server.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the first address has the token
    "X-Content-Type-Options": "nosniff",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DashboardServer(Server):
    """Serves the dashboard to browsers that know the token.

    Args:
        host: The address to listen on.
        port: The TCP port to listen on.
        token: What the first request of a browser has in its query; a cookie holds it from then on.
        options: Arguments of each dashboard, as on the command line.
    """

    def __init__(self, host: str, port: int, token: str, options: list[str]) -> None:
        # exec: the process that is ended is the dashboard, not a shell around it.
        command = shlex.join([sys.executable, "-P", "-m", "dexter_tui", *options])
        super().__init__(
            f"COLORTERM=truecolor exec {command}",
            host=host,
            port=port,
            title="dexter-tui",
            templates_path=str(resources.files(__package__)),
        )
        self._token = token
        self._cookie = f"dexter-tui-{port}"  # cookies are shared by all ports of a host
        self._open: set[web.WebSocketResponse] = set()

    @property
    def address(self) -> str:
        """The address to open first."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?{QUERY}={self._token}"

    async def _make_app(self) -> web.Application:
        app: web.Application = await super()._make_app()
        app.middlewares.append(self._guard())
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Print nothing here: the address is printed once it can be opened."""

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
            given = request.query.get(QUERY)
            if given is not None and self._knows(given):
                response = web.StreamResponse(status=303, headers={"Location": "/"})
                response.set_cookie(self._cookie, given, httponly=True, samesite="Strict")
            elif not self._knows(request.cookies.get(self._cookie, "")):
                text = "Open the address that `dexter-tui serve` printed: it has the token.\n"
                response = web.Response(status=403, text=text)
            elif not _same_origin(request):
                response = web.Response(status=403, text="This page is of another address.\n")
            else:
                response = await handler(request)
            if not response.prepared:
                response.headers.update(_HEADERS)
            return response

        return guard

    def _knows(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    @aiohttp_jinja2.template("page.html")
    async def handle_index(self, request: web.Request) -> dict[str, Any]:
        """Return what the page is filled with: addresses as the browser sees this server."""
        scheme = "wss" if request.scheme == "https" else "ws"
        return {"websocket": f"{scheme}://{request.host}/ws", "title": self.title}

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a dashboard for as long as the page is open, and the page for as long as it runs."""
        if len(self._open) >= PAGES:
            raise web.HTTPServiceUnavailable(text=f"{PAGES} pages are open: close one first\n")
        page = web.WebSocketResponse(heartbeat=15)
        self._open.add(page)
        try:
            await page.prepare(request)

            async def close() -> None:
                await page.close()

            dashboard = _Dashboard(
                self.command,
                write_bytes=page.send_bytes,
                write_str=page.send_str,
                close=close,
                download_manager=self.download_manager,
            )
            await dashboard.start(
                to_int(request.query.get("width", ""), 80),
                to_int(request.query.get("height", ""), 24),
            )
            try:
                await self._process_messages(page, dashboard)
            finally:
                await dashboard.stop()
        finally:
            self._open.discard(page)
        return page

    async def on_shutdown(self, app: web.Application) -> None:
        """Close the pages, which ends their dashboards."""
        for page in list(self._open):
            await page.close()

    def run(self) -> None:
        """Print the address and serve until the process is interrupted or terminated.

        Raises:
            OSError: It cannot listen on the port.
        """
        asyncio.run(self._run())

    async def _run(self) -> None:
        ended = asyncio.Event()
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, ended.set)
        runner = web.AppRunner(await self._make_app(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
            print_text(self.address)
            await ended.wait()
        finally:
            await runner.cleanup()


class _Dashboard(AppService):
    """A dashboard whose page closes when it ends, and that ends when its page is closed."""

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            await self.remote_close()

    async def stop(self) -> None:
        try:
            await asyncio.wait_for(super().stop(), QUIT_SECONDS)
        except TimeoutError:
            assert self._process is not None
            self._process.kill()


def _same_origin(request: web.Request) -> bool:
    """Return whether a request of a page is of a page of this server."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host
