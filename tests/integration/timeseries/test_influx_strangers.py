"""Other servers that answer 200 in place of InfluxDB: a clear error each time, nothing read or lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.store_contract import DAY, SAMPLE, sample
from tsobs_pipelines.timeseries import influx_client
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_client import InfluxAddress
from tsobs_pipelines.timeseries.store import Aggregate, StoreError, StoreUnavailableError

TOKEN = "the-token-of-the-bucket"
LOGIN = ("text/html; charset=utf-8", "<!doctype html><title>Log in</title><form>user, password")

ANSWERS = {
    "a login page": LOGIN,
    "JSON": ("application/json", '{"status": "ok"}'),
    "nothing": ("", ""),
    "text": ("text/plain", "it works"),
    "CSV of somebody else": ("text/csv", "name,value\na,1\nb,2\n"),
    "CSV with other cells": (
        "text/csv; charset=utf-8",
        ",result,table,_time,_value,place,kind,level,count,label\n,,0,yesterday,x,a,b,high,many,c\n",
    ),
    "CSV with short rows": ("text/csv", ",result,table,_time,_value,place,kind,level\n,,\n"),
    "a page that calls itself CSV": ("text/csv", LOGIN[1] + "\n" + LOGIN[1] + "\n"),
    "a page that repeats the token": ("text/csv", f"x\n{TOKEN}\n"),
}
ASKED: dict[str, Callable[[InfluxStore], object]] = {
    "read": lambda store: store.read(SAMPLE, DAY),
    "latest": lambda store: store.latest(SAMPLE, DAY),
    "count_times": lambda store: store.count_times(SAMPLE, DAY),
    "downsample": lambda store: store.downsample(
        SAMPLE, DAY, timedelta(hours=1), [Aggregate("level", "mean", "level")]
    ),
    "write": lambda store: store.write(SAMPLE, [sample(0)]),
    "replace": lambda store: store.replace(SAMPLE, DAY, [sample(0)]),
    "delete": lambda store: store.delete(SAMPLE, DAY),
    "ping": lambda store: store.ping(),
}


@contextmanager
def stranger(kind: str, body: str, queries: str | None = None) -> Iterator[str]:
    """A server that answers all requests alike; ``queries``: those of queries as CSV with this body."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            empty = queries is not None and self.path.startswith("/api/v2/query")
            content = (queries if empty and queries is not None else body).encode()
            self.send_response(200)
            if kind or empty:
                self.send_header("Content-Type", "text/csv" if empty else kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - named by http.server

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def error_of(url: str, directory: Path, ask: Callable[[InfluxStore], object]) -> StoreError:
    store = InfluxStore(InfluxAddress(url, "org", "bucket", TOKEN), directory)
    try:
        with pytest.raises(StoreUnavailableError) as caught:
            ask(store)
    finally:
        store.close()
    return caught.value


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influx_client, "ATTEMPTS", 1)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_200_that_is_no_answer_of_influxdb_is_a_clear_error(
    tmp_path: Path, asked: str, answer: str
) -> None:
    with stranger(*ANSWERS[answer]) as url:
        text = str(error_of(url, tmp_path, ASKED[asked]))
    assert "not an answer of InfluxDB" in text
    assert "INFLUXDB_V2_URL" in text
    assert url in text
    assert TOKEN not in text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("asked", ["write", "replace", "delete"])
def test_what_a_proxy_swallows_is_not_taken_for_written(tmp_path: Path, asked: str) -> None:
    with stranger(*LOGIN, queries="\r\n") as url:
        text = str(error_of(url, tmp_path, ASKED[asked]))
    assert "200 with text/html, expected 204" in text
