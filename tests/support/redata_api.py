"""A stub of REData: it answers in the service's form, and with its failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

MADRID = ZoneInfo("Europe/Madrid")
FIREWALL = (403, "text/html", "<html><body>Request Rejected. Support ID: 1234</body></html>")
BROKEN = (502, "text/html", "<html>Bad Gateway</html>")
NO_VALUES = (
    404,
    "application/json",
    json.dumps({"errors": [{"code": 404, "detail": "There are no values for the selected filters."}]}),
)
CUT_OFF = (200, "application/json", "cut")
SILENT = (0, "", "")

Answer = tuple[int, str, str]


def instants(first: date, last: date, minutes: int = 60) -> Iterator[datetime]:
    """Every start of an hour (or quarter) of these local days, with its offset."""
    now = datetime(first.year, first.month, first.day, tzinfo=MADRID).astimezone(ZoneInfo("UTC"))
    end = datetime(last.year, last.month, last.day, tzinfo=MADRID) + timedelta(days=1)
    while now < end.astimezone(ZoneInfo("UTC")):
        yield now.astimezone(MADRID)
        now += timedelta(minutes=minutes)


def document(first: date, last: date, price: Callable[[datetime], float], minutes: int = 60) -> str:
    """What the service answers for these days."""
    values = [
        {
            "value": price(at),
            "percentage": 0.5,
            "datetime": at.isoformat(timespec="milliseconds"),
        }
        for at in instants(first, last, minutes)
    ]
    pvpc = [value | {"value": value["value"] + 50} for value in values if value["datetime"][14:16] == "00"]  # type: ignore[operator,index]
    included = [
        {"type": "PVPC", "id": "1001", "attributes": {"title": "PVPC", "values": pvpc}},
        {"type": "Precio mercado spot", "id": "600", "attributes": {"title": "Spot", "values": values}},
    ]
    return json.dumps({"data": {"type": "Precios"}, "included": included})


def day_and_hour(at: datetime) -> float:
    """A price that tells which hour it is of."""
    return at.day + at.hour / 100


@dataclass
class Redata:
    """The stub: what it was asked, and what it answers out of turn."""

    url: str = ""
    asked: list[tuple[date, date]] = field(default_factory=list)
    moods: list[Answer] = field(default_factory=list)
    minutes: int = 60
    price: Callable[[datetime], float] = day_and_hour
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, first: date, last: date) -> Answer:
        """What the service says."""
        self.asked.append((first, last))
        if self.moods:
            return self.moods.pop(0)
        if (last - first).days > 31:
            return 400, "application/json", json.dumps({"errors": [{"code": 400, "detail": "max one month"}]})
        return 200, "application/json", document(first, last, self.price, self.minutes)


def _handler(stub: Redata) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            assert query["time_trunc"] == "hour"
            days = [datetime.fromisoformat(query[name]).date() for name in ("start_date", "end_date")]
            status, kind, body = stub.answer(days[0], days[1])
            if status == 0:
                stub.released.wait(30)
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            content = body.encode()
            if body == "cut":
                content = b'{"data": {}, "included": [{"id": "600", "attr'
                self.send_header("Content-Length", "5000")
            else:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = body == "cut"

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    return Handler


@contextmanager
def redata_api() -> Iterator[Redata]:
    """A stub on a free port."""
    stub = Redata()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.released.set()
        server.shutdown()
        server.server_close()
