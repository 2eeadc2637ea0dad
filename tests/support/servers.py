"""An OpenAI-compatible server on loopback whose answers a test chooses."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[["Handler", dict[str, Any], int], None]


class Handler(BaseHTTPRequestHandler):
    """A handler of requests, which the server's answer replies to."""

    server: "_Server"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        body: Any = sent if self.headers["Content-Type"] == "image/png" else json.loads(sent)
        log = self.server.log
        with log.lock:
            log.requests.append(body)
            log.paths.append(self.path)
            log.headers.append(self.headers)
            number = len(log.requests)
            log.running += 1
            log.most = max(log.most, log.running)
        try:
            self.server.answer(self, body, number)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up, as it should
        finally:
            with log.lock:
                log.running -= 1

    def send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def text(self, text: str, **usage: int) -> None:
        """Send a chat completion."""
        message = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        self.send(200, json.dumps({**message, **({"usage": usage} if usage else {})}).encode())

    def drip(self, start: bytes, forever: bytes, over: threading.Event) -> None:
        """Write a beginning, and then the same bytes again and again until it is over."""
        self.wfile.write(start)
        while not over.wait(0.02):
            self.wfile.write(forever)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answer: Answer
    log: "Log"


@dataclass
class Log:
    """The requests so far. server: its answer may be replaced."""

    url: str
    server: "_Server"
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)
    running: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def keys(self) -> list[str | None]:
        return [headers.get("Authorization") for headers in self.headers]


@contextmanager
def serving(answer: Answer, certificate: Path | None = None) -> Iterator[Log]:
    """Serve for as long as the block runs, with a certificate by TLS; yield the log."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.answer = answer
    url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/v1"
    server.log = Log(url, server)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.log
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def body(data: Any, code: int = 200, **headers: str) -> Answer:
    """Answer with bytes, or with anything else as JSON."""
    sent = data if isinstance(data, bytes) else json.dumps(data).encode()

    def answer(handler: Handler, _body: dict[str, Any], _number: int) -> None:
        handler.send(code, sent, **headers)

    return answer


def garbage(handler: Handler, _body: dict[str, Any], _number: int) -> None:
    handler.send(200, b"<html>\xff not json")


def half(handler: Handler, _body: dict[str, Any], _number: int) -> None:
    handler.send(200, b'{"choices": [{"mess', Content_Length="500")
    handler.close_connection = True


def nothing(handler: Handler, _body: dict[str, Any], _number: int) -> None:
    handler.close_connection = True


def status(code: int, text: str = "", **headers: str) -> Answer:
    return body({"error": {"message": text}}, code, **headers)


def first(*answers: Answer, then: Answer) -> Answer:
    """Give these answers to the first requests, and another to all that follow."""

    def answer(handler: Handler, body: dict[str, Any], number: int) -> None:
        chosen = answers[number - 1] if number <= len(answers) else then
        chosen(handler, body, number)

    return answer
