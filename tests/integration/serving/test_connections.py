"""Limits on connections, on real sockets: bytes, time, and which are closed when there are too many."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from tests.support.running import eventually
from tsobs_pipelines.serving import connections
from tsobs_pipelines.serving.connections import BoundedConnection
from tsobs_pipelines.serving.listening import listening_socket

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@dataclass
class Served:
    """A small application behind bounded connections; ``gate`` holds the answers of ``/held``."""

    port: int
    seen: list[str]
    gate: threading.Event

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), 10, (source, 0))
        client.settimeout(10)
        return client

    def ask(self, sent: bytes, source: str = "127.0.0.1") -> bytes:
        """What comes back until the server ends the connection."""
        with self.connect(source) as client:
            client.sendall(sent)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):
        while chunk := client.recv(65536):
            found += chunk
    return found


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(connections, "REQUEST_S", 1.0)
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    seen: list[str] = []
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/held":
            await asyncio.to_thread(gate.wait, 20)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(app, http=BoundedConnection, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with listening_socket("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        eventually(lambda: server.started, 10, "the server listens")
        yield Served(listener.getsockname()[1], seen, gate)
        gate.set()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(90)),
        HEAD + b"X: " + b"a" * 70_000,
        HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n",
        b"GET /" + b"a" * 70_000,
        b"GET /?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["many", "long", "long and whole", "count", "target", "target and whole"],
)
def test_a_head_without_end_gets_431_and_reaches_no_application(served: Served, sent: bytes) -> None:
    assert served.ask(sent).startswith(b"HTTP/1.1 431 ")
    assert served.seen == []


def test_endless_headers_are_refused_while_they_are_sent(served: Served) -> None:
    with served.connect() as client:
        client.sendall(HEAD)
        sent = 0
        while sent < 10 * 2**20:
            try:
                sent += client.send(b"X-Header: " + b"a" * 1000 + b"\r\n")
            except OSError:
                break
        assert sent < 10 * 2**20 or b" 431 " in read_all(client)


def test_a_body_has_bounds_also_in_chunks(served: Served) -> None:
    whole = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000
    assert b" 200 " not in served.ask(whole)
    chunk = b"%x\r\n%s\r\n" % (10_000, b"a" * 10_000)
    chunked = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 20
    assert b" 200 " not in served.ask(chunked)


def test_what_fits_is_answered(served: Served) -> None:
    one = HEAD + b"X: " + b"a" * 60_000 + b"\r\n\r\n"
    assert served.ask(one + HEAD + b"Connection: close\r\n\r\n").count(b" 200 OK") == 2
    body = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n"
    assert b" 200 OK" in served.ask(body + b"a" * 60_000)


def test_garbage_gets_400(served: Served) -> None:
    assert served.ask(b"\x16\x03\x01\x02\x00").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (HEAD, b"HTTP/1.1 408 "),
        (HEAD + b"\r\n" + HEAD, b"HTTP/1.1 200 "),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab", b""),
    ],
    ids=["silent", "head", "second head", "body"],
)
def test_what_does_not_arrive_in_time_is_closed(served: Served, sent: bytes, answer: bytes) -> None:
    found = served.ask(sent)
    assert found.startswith(answer)
    assert found.count(b" 200 ") == answer.count(b" 200 ")


def test_headers_a_byte_at_a_time_do_not_prolong_it(served: Served) -> None:
    with served.connect() as client:
        client.sendall(HEAD)
        began = time.monotonic()
        with suppress(OSError):  # a broken pipe, or a reset
            while time.monotonic() - began < 10:
                client.sendall(b"X")
                time.sleep(0.05)
        assert time.monotonic() - began < 8


def test_silent_connections_give_way_to_who_asks(served: Served) -> None:
    with ExitStack() as silent:
        for _ in range(60):
            silent.enter_context(served.connect())
        for source in ("127.0.0.1", "127.0.0.2"):
            assert b" 200 OK" in served.ask(HEAD + b"Connection: close\r\n\r\n", source)


def test_only_who_asks_for_too_much_at_once_gets_503(served: Served) -> None:
    held = b"GET /held HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with ExitStack() as busy:
        clients = [busy.enter_context(served.connect()) for _ in range(20)]
        for client in clients:
            client.sendall(held)
        eventually(lambda: served.seen.count("/held") == 20, 10, "twenty requests are worked on")
        ask = HEAD + b"Connection: close\r\n\r\n"
        assert b" 200 OK" in served.ask(ask, "127.0.0.2")
        assert b" 503 " in served.ask(ask, "127.0.0.1")
        served.gate.set()
        for client in clients:
            assert b" 200 OK" in read_all(client)


def test_all_addresses_of_ipv6_are_those_of_ipv4_as_well() -> None:
    if not socket.has_dualstack_ipv6():  # a kernel without IPv6, in a namespace as well
        with pytest.raises(OSError, match="Address family not supported"):
            listening_socket("::", 0)
        return
    with listening_socket("::", 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 5).close()
        with socket.socket(socket.AF_INET6) as v6:
            v6.settimeout(5)
            v6.connect(("::1", port))


def test_httpx_can_keep_its_connection(served: Served) -> None:
    with httpx.Client() as client:
        for _ in range(3):
            assert client.get(f"http://127.0.0.1:{served.port}/").text == "ok"
