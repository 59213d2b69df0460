"""A sidecar whose journal grows on request: the HTTP contract over rounds without problems."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.support.journals import NODES, round_line


class GrowingSidecar(ThreadingHTTPServer):
    """Answers ``/healthz``, ``/status`` and ``/samples``; ``sent`` counts the bytes of its answers."""

    daemon_threads = True

    def __init__(self, names: Sequence[str] = NODES) -> None:
        self.names = names
        self.sent = 0
        self.days: dict[str, list[tuple[datetime, bytes]]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def last(self) -> datetime:
        """The time of the newest round."""
        return max(lines[-1][0] for lines in self.days.values())

    def take(self, times: Iterable[datetime]) -> None:
        """Add a round at each time."""
        for at in times:
            self.days.setdefault(f"{at:%Y-%m-%d}", []).append((at, self.line(at)))

    def line(self, at: datetime) -> bytes:
        """The journal's line of a round, in which every node answers."""
        return round_line(at, nodes=self.names)

    def wanted(self) -> set[tuple[datetime, str]]:
        """Every round of every node."""
        return {(at, name) for lines in self.days.values() for at, _ in lines for name in self.names}

    def answer(self, path: str) -> bytes | None:
        """The body for a path with its query; None when there is no such path."""
        parts = urlsplit(path)
        if parts.path == "/healthz":
            return b'{"ok":true}'
        if parts.path == "/status":
            peers = {name: {"HostName": name, "Online": True} for name in self.names}
            return json.dumps({"BackendState": "Running", "Peer": peers}).encode()
        if parts.path == "/samples":
            index = {
                day: {"rounds": len(lines), "bytes": sum(len(line) for _, line in lines)}
                for day, lines in self.days.items()
            }
            return json.dumps({"days": index}).encode()
        lines = self.days.get(parts.path.removeprefix("/samples/"))
        if lines is None:
            return None
        after = parse_qs(parts.query).get("after")
        since = datetime.fromisoformat(after[0]) if after else lines[0][0] - timedelta(seconds=1)
        return b"".join(line for at, line in list(lines) if at > since)


class _Handler(BaseHTTPRequestHandler):
    server: GrowingSidecar
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.server.answer(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")
        self.server.sent += len(body or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
