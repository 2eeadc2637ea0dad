"""`dexter-tui serve`: the dashboard over a web socket on loopback, for those who have the token."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import shown_store
from waiting import PATIENCE, until

COMMAND = [sys.executable, "-m", "dexter_tui", "serve"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it prints."""
    home = shown_store.copy(tmp_path_factory.mktemp("serve") / "home")
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [*COMMAND, "--port", str(free_port())],
        env={**usual, "DEXTER_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_only_a_page_of_this_server_with_the_token_gets_the_dashboard(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = server
    base, token = address.split("/?token=")
    assert len(token) >= 32

    def dashboards() -> list[str]:
        return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

    async def ask() -> None:
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address without a name
        async with aiohttp.ClientSession(cookie_jar=jar) as client:
            for path in ("/", "/ws", "/static/js/textual.js", f"/?token={token[:-1]}"):
                async with client.get(base + path) as refused:
                    assert refused.status == 403
                    assert "token" in await refused.text()
            async with client.get(address) as page:
                text = await page.text()
                assert (page.status, "token" in str(page.url)) == (200, False)
                assert "default-src 'self'" in page.headers["Content-Security-Policy"]
                assert not re.search(r"https?://", text)
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.ws_connect(f"{base}/ws", headers={"Origin": "http://elsewhere"})
            assert not dashboards()
            async with client.ws_connect(f"{base}/ws?width=100&height=30", origin=base) as terminal:
                seen = b""
                while b"waterbird" not in seen or b"read-only" not in seen:
                    message = await terminal.receive(PATIENCE)
                    assert message.type is aiohttp.WSMsgType.BINARY
                    seen += message.data
                await terminal.send_json(["stdin", "q"])
                while (await terminal.receive(PATIENCE)).type is not aiohttp.WSMsgType.CLOSE:
                    pass  # the page ends with its dashboard
            async with client.ws_connect(f"{base}/ws", origin=base) as terminal:
                await terminal.receive(PATIENCE)
                assert len(dashboards()) == 1

    asyncio.run(ask())
    until(lambda: not dashboards())  # and the dashboard with its page
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0


def test_a_port_that_is_taken_is_refused_in_a_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*COMMAND, "--port", str(port)],
            env={**os.environ, "DEXTER_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
        )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"dexter-tui: cannot listen on 127.0.0.1:{port}: address already in use; "
        "choose another --port or --host\n"
    )
