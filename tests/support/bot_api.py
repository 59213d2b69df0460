"""A Bot API server for the tests: it records accepted messages, and fails on request."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, TypeAlias

TOKEN = "123456:TEST-token_of-the-stub"
CHAT = "-1001"


@dataclass
class BotApi:
    """The server's record, and its orders for the next requests (then it behaves).

    A message that it accepts is kept at once; ``answer_s`` seconds later it says so.
    """

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    arrived_at: list[float] = field(default_factory=list)
    faults: deque[Callable[[Handler], None]] = field(default_factory=deque)
    photo_requests: list[dict[str, Any]] = field(default_factory=list)
    photos: list[dict[str, Any]] = field(default_factory=list)
    photo_faults: deque[Callable[[Handler], None]] = field(default_factory=deque)
    answer_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def order(self, *faults: Callable[[Handler], None]) -> None:
        """Meet the next requests with these faults, one each."""
        self.faults.extend(faults)

    @property
    def texts(self) -> list[str]:
        """The texts of the messages that it accepted."""
        return [str(message["text"]) for message in self.accepted]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    api: BotApi
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Record, then behave or not."""
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        self.is_photo = self.path == f"/bot{TOKEN}/sendPhoto"
        self.message = self.form(body) if self.is_photo else json.loads(body)
        with self.api.lock:
            asked, faults = (
                (self.api.photo_requests, self.api.photo_faults)
                if self.is_photo
                else (self.api.requests, self.api.faults)
            )
            asked.append(self.message)
            fault = faults.popleft() if faults else accept
        if not self.is_known():
            fault = status(404, "Not Found")
        fault(self)

    def is_known(self) -> bool:
        """Whether the address is the server's."""
        return self.path in {f"/bot{TOKEN}/sendMessage", f"/bot{TOKEN}/sendPhoto"}

    def form(self, body: bytes) -> dict[str, Any]:
        """The parts of a form with files; ``reply_parameters`` is JSON."""
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
            for part in message_from_bytes(head + body).walk()
            if not part.is_multipart()
        }
        found: dict[str, Any] = {
            name: value if name == "photo" else value.decode()
            for name, value in parts.items()
            if isinstance(value, bytes)
        }
        return found | {"reply_parameters": json.loads(found["reply_parameters"])}

    def answer(
        self,
        code: int,
        body: bytes,
        *,
        cut: int = 0,
        kind: str = "application/json",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Send an answer whose length is said ``cut`` bytes too long."""
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) + cut))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if cut:
            self.close_connection = True

    def keep(self) -> bytes:
        """Accept the message; the answer that says so."""
        with self.api.lock:
            if self.is_photo:
                self.api.photos.append(self.message)
            else:
                self.api.accepted.append(self.message)
                self.api.arrived_at.append(time.time())
            number = len(self.api.accepted) + len(self.api.photos)
        return json.dumps({"ok": True, "result": {"message_id": number}}).encode()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing on stderr."""


Fault: TypeAlias = Callable[[Handler], None]


def accept(handler: Handler) -> None:
    """Behave."""
    body = handler.keep()
    time.sleep(handler.api.answer_s)
    handler.answer(200, body)


def status(code: int, description: str, **parameters: object) -> Callable[[Handler], None]:
    """Refuse with a status, as the Bot API does."""

    def fault(handler: Handler) -> None:
        body = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
        handler.answer(code, json.dumps(body).encode())

    return fault


def page(code: int, body: bytes, kind: str, **headers: str) -> Fault:
    """Answer as something on the way does that is not the Bot API."""

    def fault(handler: Handler) -> None:
        handler.answer(code, body, kind=kind, headers=headers)

    return fault


def html(code: int) -> Fault:
    """Answer with a web page, as a proxy does."""
    return page(code, b"<html><body>hello</body></html>", "text/html")


def text(code: int) -> Fault:
    """Answer with a line of text."""
    return page(code, b"upstream request failed", "text/plain")


def strange_json(code: int) -> Fault:
    """Answer with JSON that has no ``ok``, as gateways do."""
    return page(code, b'{"error": "denied", "code": 7}', "application/json")


def empty(code: int) -> Fault:
    """Answer without a body."""
    return page(code, b"", "application/json")


def silent_before_accepting(handler: Handler) -> None:
    """Never answer, and forget the message."""
    handler.connection.settimeout(60)
    handler.connection.recv(1)
    handler.close_connection = True


def silent_after_accepting(handler: Handler) -> None:
    """Keep the message, never answer."""
    handler.keep()
    silent_before_accepting(handler)


def hang_up(handler: Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def cut_in_half(handler: Handler) -> None:
    """Keep the message and send half of the answer."""
    body = handler.keep()
    handler.answer(200, body[: len(body) // 2], cut=len(body) - len(body) // 2)


class WebhookHandler(Handler):
    """A request to a webhook, which takes JSON at any path."""

    def is_known(self) -> bool:
        """Always."""
        return True


@contextmanager
def bot_api(kind: type[Handler] = Handler) -> Iterator[BotApi]:
    """A server on a free port of loopback; a webhook's with :class:`WebhookHandler`."""
    api = BotApi()
    handler = type("Handler", (kind,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
