"""Sidecars for tests: one with scripted responses, and one that misbehaves byte by byte."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

Behaviour: TypeAlias = Callable[[socket.socket], None]


class StubSidecar(ThreadingHTTPServer):
    """Answers each path, with its query or without, with a value as JSON or a text; remembers requests."""

    daemon_threads = True

    def __init__(self, answers: Mapping[str, object], statuses: Mapping[str, int] | None = None) -> None:
        self.answers = dict(answers)
        self.statuses = dict(statuses or {})
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _StubHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _StubHandler(BaseHTTPRequestHandler):
    server: StubSidecar
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.tokens.append(self.headers.get("Authorization"))
        path = self.path if self.path in self.server.answers else self.path.partition("?")[0]
        known = path in self.server.answers
        answer = self.server.answers.get(path, {"error": "no such path"})
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(self.server.statuses.get(path, 200 if known else 404))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[None]:
    """Serve in a thread while the block runs."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def raw_sidecar(*behaviours: Behaviour) -> Iterator[str]:
    """The address of a server whose connections behave as given, in their order; the last one stays."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def accept() -> None:
        count = 0
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            behaviour = behaviours[min(count, len(behaviours) - 1)]
            count += 1
            threading.Thread(target=_behave, args=(connection, behaviour), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _behave(connection: socket.socket, behaviour: Behaviour) -> None:
    with connection:
        try:
            head = b""
            while b"\r\n\r\n" not in head and (got := connection.recv(65536)):
                head += got
            behaviour(connection)
        except OSError:
            pass  # the client went away first


def says(raw: bytes) -> Behaviour:
    """Send these bytes and close."""
    return lambda connection: connection.sendall(raw)


def answer(body: bytes, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """An HTTP answer; ``length`` other than the body's own announces more than there is."""
    announced = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {announced}\r\n\r\n".encode() + body
