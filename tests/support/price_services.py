"""Stubs of ESIOS and ENTSO-E: they answer in the services' forms, and with their failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.support.redata_api import instants

Answer = tuple[int, str, str]
Query = dict[str, str]


@dataclass
class Service:
    """A stub: what it was asked with which headers, and what it answers out of turn."""

    answer: Callable[[str, Query], Answer]
    url: str = ""
    asked: list[tuple[str, Query]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    moods: list[Answer] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[str, Query], Answer]) -> Iterator[Service]:
    """The stub on a free port."""
    stub = Service(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            stub.asked.append((parts.path, query))
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, kind, body = stub.moods.pop(0) if stub.moods else stub.answer(parts.path, query)
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Files:
    """A web server of files: the status, the headers and the bytes of each path with its query."""

    url: str = ""
    files: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def put(self, path: str, data: bytes, status: int = 200, **headers: str) -> str:
        """The file's address; ``Last_Modified`` is the header ``Last-Modified``."""
        self.files[path] = status, {name.replace("_", "-"): text for name, text in headers.items()}, data
        return f"{self.url}{path}"


@contextmanager
def serving_files() -> Iterator[Files]:
    """The web server on a free port."""
    stub = Files()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            status, headers, data = stub.files.get(self.path, (404, {}, b"no such page"))
            self.send_response(status)
            for name, text in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, text)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


def esios_answer(path: str, query: Query, minutes: int = 60) -> Answer:
    """An indicator as ESIOS has it: each moment once for each place, whatever was asked for."""
    days = [datetime.fromisoformat(query[name]).date() for name in ("start_date", "end_date")]
    values = [
        {
            "value": place * 100 + at.hour,
            "datetime": at.isoformat(timespec="milliseconds"),
            "datetime_utc": at.astimezone(UTC).isoformat(),
            "geo_id": place,
            "geo_name": str(place),
        }
        for at in instants(days[0], days[1], minutes)
        for place in (3, 1, 2, 8741)
    ]
    indicator = {"id": int(path.rpartition("/")[2]), "name": "Precio", "values": values}
    return 200, "application/json", json.dumps({"indicator": indicator})


def entsoe_document(start: datetime, prices: Sequence[float], minutes: int, curve: str = "A03") -> str:
    """A publication document of day-ahead prices; by curve type A03 without positions that repeat a price."""
    end = start + timedelta(minutes=minutes) * len(prices)
    points = "".join(
        f"<Point><position>{n}</position><price.amount>{price}</price.amount></Point>"
        for n, price in enumerate(prices, start=1)
        if curve != "A03" or n == 1 or price != prices[n - 2]
    )
    first, after = (f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}" for at in (start, end))
    span = f"<start>{first}</start><end>{after}</end>"
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3">'
        "<TimeSeries><mRID>1</mRID><currency_Unit.name>EUR</currency_Unit.name>"
        f"<price_Measure_Unit.name>MWH</price_Measure_Unit.name><curveType>{curve}</curveType>"
        f"<Period><timeInterval>{span}</timeInterval><resolution>PT{minutes}M</resolution>{points}</Period>"
        "</TimeSeries></Publication_MarketDocument>"
    )
