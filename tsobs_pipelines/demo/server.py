"""The simulated tailnet behind the sidecar's HTTP contract.

It listens on loopback only, imports little, and identifies itself: ``/healthz`` says ``"demo":true`` and
every answer has the header ``X-Tsobs-Demo``.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tsobs_pipelines.demo.tailnet import (
    DAEMON,
    DEMO_LOGIN,
    NODES,
    OWN,
    REGIONS,
    DemoNode,
    DemoTailnet,
    Json,
)
from tsobs_pipelines.demo.tailnet_journal import DemoJournal, first_after, size

HOST: Final = "127.0.0.1"
MAX_PATH: Final = 2048
LIVE_PINGS: Final = 5

Clock = Callable[[], datetime]


class RefusalError(Exception):
    """A request that is not answered with 200."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class DemoServer(ThreadingHTTPServer):
    """The server; ``port`` 0 takes a free one, which :attr:`url` then names."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, seed: int = 0, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self.tailnet = DemoTailnet(seed)
        self.journal = DemoJournal(self.tailnet)
        self.clock = clock
        super().__init__((HOST, port), DemoHandler)
        self.url = f"http://{HOST}:{self.server_port}"
        names = (HOST, "localhost")
        self.allowed_hosts = frozenset([*names, *(f"{name}:{self.server_port}" for name in names)])


class DemoHandler(BaseHTTPRequestHandler):
    """Answers one connection; GET only."""

    server: DemoServer
    protocol_version = "HTTP/1.1"
    server_version = "tsobs-demo"
    sys_version = ""
    timeout = 60
    disable_nagle_algorithm: ClassVar[bool] = True

    def do_GET(self) -> None:
        """Route a request."""
        try:
            self._check_headers()
            self._route()
        except RefusalError as refusal:
            self.send_error(refusal.status, refusal.reason)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002 - the signature is the library's
    ) -> None:
        """Answer with a status and ``{"error": …}``; a method without a handler is not allowed."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self.close_connection = True
        reason = message if code != HTTPStatus.NOT_IMPLEMENTED else None
        self._send_json({"error": reason or status.phrase}, status)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: nobody needs the requests of a demo."""

    def _check_headers(self) -> None:
        if self.headers.get("Host", "") not in self.server.allowed_hosts:
            raise RefusalError(HTTPStatus.FORBIDDEN, "host not allowed")
        if "Origin" in self.headers or "Referer" in self.headers:
            raise RefusalError(HTTPStatus.FORBIDDEN, "requests from web pages are refused")
        if len(self.path) > MAX_PATH:
            raise RefusalError(HTTPStatus.REQUEST_URI_TOO_LONG, "path too long")

    def _route(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        route, _, argument = parts.path.removeprefix("/").partition("/")
        argument = unquote(argument, errors="replace")
        now = self.server.clock()
        if not argument and (answer := self._plain_routes(now).get(parts.path)) is not None:
            answer()
        elif route == "whois" and argument:
            self._send_json(_whois(argument))
        elif route == "ping" and argument:
            self._ping(_node(argument), now, query)
        elif route == "debug" and argument:
            self._debug(_node(argument), now)
        elif route == "samples" and argument:
            self._samples(_day(argument), now, query)
        else:
            raise RefusalError(HTTPStatus.NOT_FOUND, "no such path")

    def _plain_routes(self, now: datetime) -> dict[str, Callable[[], None]]:
        tailnet, journal = self.server.tailnet, self.server.journal
        return {
            "/healthz": lambda: self._healthz(now),
            "/status": lambda: self._send_json(tailnet.status(now)),
            "/netcheck": lambda: self._netcheck(now),
            "/samples": lambda: self._send_json(journal.index(now)),
        }

    def _netcheck(self, now: datetime) -> None:
        report = self.server.tailnet.netcheck(now.replace(second=0, microsecond=0))
        self._send_json({**report, "RegionCode": {str(number): code for number, code, _ in REGIONS}})

    def _healthz(self, now: datetime) -> None:
        ok = self.server.tailnet.running(now)
        status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
        state = "Running" if ok else "NoState"
        self._send_json({"ok": ok, "demo": True, "state": state, "daemon": DAEMON, "sampler": True}, status)

    def _ping(self, node: DemoNode, now: datetime, query: dict[str, str]) -> None:
        if query.get("format", "text") not in {"text", "json"}:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "format: expected text or json")
        self._check_running(now)
        if node is OWN:
            text = f"{OWN.ip} is local Tailscale IP"
            results: list[Json] = [{"IP": OWN.ip, "Err": text, "IsLocalIP": True}]
        else:
            results = self.server.tailnet.pings(node, now, LIVE_PINGS)
        if query.get("format") == "json":
            self._send_json(results)
        else:
            self._send(HTTPStatus.OK, "text/plain; charset=utf-8", _ping_text(node, results).encode())

    def _debug(self, node: DemoNode, now: datetime) -> None:
        tailnet = self.server.tailnet
        peer = tailnet.own_status() if node is OWN else tailnet.peer_status(node, now)
        self._send_json({"peer": peer, "endpoint_changes": [], "events": []})

    def _samples(self, day: date, now: datetime, query: dict[str, str]) -> None:
        journal = self.server.journal
        count = journal.rounds(day, now)
        if not count:
            raise RefusalError(HTTPStatus.NOT_FOUND, "no journal of this day")
        first = min(first_after(day, _time(query["after"])), count) if "after" in query else 0
        self._send_stream("application/x-ndjson", size(first, count), journal.chunks(day, first, count))

    def _check_running(self, now: datetime) -> None:
        if not self.server.tailnet.running(now):
            raise RefusalError(HTTPStatus.BAD_GATEWAY, "the daemon is starting")

    def _send_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, "application/json", json.dumps(value, separators=(",", ":")).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._send_stream(kind, len(body), [body], status)

    def _send_stream(
        self, kind: str, length: int, chunks: Iterable[bytes], status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Tsobs-Demo", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        for chunk in chunks:
            self.wfile.write(chunk)


def _node(name: str) -> DemoNode:
    wanted = name.lower().rstrip(".")
    for node in (*NODES, OWN):
        if wanted in {node.name, node.ip, node.dns_name.rstrip(".")}:
            return node
    raise RefusalError(HTTPStatus.NOT_FOUND, "no such peer")


def _whois(text: str) -> Json:
    """A demo user for the demo's nodes and for this machine; nobody else has one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "expected an IP address") from None
    node = next((node for node in (OWN, *NODES) if str(address) == node.ip), None)
    if node is None and not address.is_loopback:
        raise RefusalError(HTTPStatus.NOT_FOUND, "peer not found")
    name = (node or OWN).dns_name
    return {"Node": {"Name": name}, "UserProfile": {"LoginName": DEMO_LOGIN, "DisplayName": "Demo user"}}


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or text != str(day):
        raise RefusalError(HTTPStatus.BAD_REQUEST, "expected a day as YYYY-MM-DD")
    return day


def _time(text: str) -> datetime:
    try:
        # In a query a bare + is a blank; a zone such as +01:00 may come either way.
        time = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or "T" not in text:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "after: expected a time as RFC 3339")
    return time


def _ping_text(node: DemoNode, results: Iterable[Json]) -> str:
    lines: list[str] = []
    any_pong = False
    for result in results:
        if result.get("IsLocalIP"):
            return f"{result['Err']}\n"
        seconds = result.get("LatencySeconds")
        if not isinstance(seconds, float):
            lines.append(f'ping "{node.ip}" timed out')
            continue
        any_pong = True
        via = f"DERP({result['DERPRegionCode']})" if result["DERPRegionID"] else result["Endpoint"]
        lines.append(f"pong from {node.name} ({node.ip}) via {via} in {round(seconds * 1e3)}ms")
    return "\n".join([*lines, *([] if any_pong else ["no reply"])]) + "\n"
