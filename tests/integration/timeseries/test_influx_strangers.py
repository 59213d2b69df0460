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

ANSWERS: dict[str, tuple[str, str | bytes]] = {
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
    "a page in Latin-1": ("text/html", "<title>Iniciar sesión</title>".encode("latin-1")),
    "bytes": ("application/octet-stream", b"\xff\xfe\x00"),
    "CSV in Latin-1": ("text/csv", ",result,table,_time\n,,0,sesión\n".encode("latin-1")),
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
def stranger(kind: str, body: str | bytes, queries: str | None = None, status: int = 200) -> Iterator[str]:
    """A server that answers all requests alike; ``queries``: those of queries as CSV with this body."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            empty = queries is not None and self.path.startswith("/api/v2/query")
            said = queries if empty and queries is not None else body
            content = said if isinstance(said, bytes) else said.encode()
            self.send_response(status)
            if kind or empty:
                self.send_header("Content-Type", "text/csv" if empty else kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - named by http.server

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def error_of(
    url: str,
    directory: Path,
    ask: Callable[[InfluxStore], object],
    kind: type[StoreError] = StoreUnavailableError,
) -> StoreError:
    store = InfluxStore(InfluxAddress(url, "org", "bucket", TOKEN), directory)
    try:
        with pytest.raises(kind) as caught:
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


@pytest.mark.parametrize("asked", ASKED)
def test_a_proxys_error_page_that_is_not_utf_8_is_a_clear_error(tmp_path: Path, asked: str) -> None:
    page = "<title>Página no disponible</title>".encode("latin-1")
    with stranger("text/html", page, status=502) as url:
        text = str(error_of(url, tmp_path, ASKED[asked]))
    assert text.startswith(f"InfluxDB {url}: ")
    assert "502" in text or "not an answer of InfluxDB: a page that is not UTF-8" in text


PARTS = ",result,table,_time,_value\r\n"


@pytest.mark.parametrize(
    "rows",
    [
        PARTS + ",zzz,0,2026-05-12T00:00:00Z,1\r\n",
        PARTS + ",part0,0,2026-05-12T00:00:00Z,1.5\r\n",
        PARTS + ",part1,0,2026-05-12T00:00:00Z,abc\r\n",
        ",result,table,_time\r\n,part0,0,2026-05-12T00:00:00Z\r\n",
        PARTS + ",part1,0,yesterday,1\r\n",
    ],
    ids=["another result", "half a count", "no number", "no value", "no time"],
)
def test_a_down_sampling_of_other_cells_is_a_clear_error(tmp_path: Path, rows: str) -> None:
    with stranger("text/csv", rows) as url:
        text = str(error_of(url, tmp_path, ASKED["downsample"]))
    assert "not an answer of InfluxDB: columns or cells that nobody asked for" in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[" * 100_000, "400, Bad Request"),
        ('{"message":' * 50_000, "400, Bad Request"),
        ('{"message":null}', "400, Bad Request"),
        ('{"message":{"a":1}}', "400, Bad Request"),
        ('{"message":" "}', "400, Bad Request"),
        ("[1]", "400, Bad Request"),
        ("9" * 6_000, "400, Bad Request"),
        ('{"message":"\\nno such\\nthing"}', "400, no such"),
    ],
)
@pytest.mark.parametrize("asked", ["read", "write", "delete", "ping"])
def test_a_refusal_says_its_reason(tmp_path: Path, asked: str, body: str, said: str) -> None:
    with stranger("application/json", body, status=400) as url:
        text = str(error_of(url, tmp_path, ASKED[asked], StoreError))
    assert text.endswith(said)


ROW = ",result,table,_time,place,kind,level\r\n,,0,2026-05-12T00:00:00Z,a,b,1\r\n\r\n"


@pytest.mark.parametrize("header", [",error,reference\r\n", "error,reference\r\n"])
@pytest.mark.parametrize("rows", ["", ROW])
@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "the query failed, and the answer ends before it says why"),
        ("\r\n", "the query failed, and the answer ends before it says why"),
        (",boom,897\r\n", "the query failed: boom"),
        ("boom,897\r\n", "the query failed: boom"),
    ],
)
def test_a_query_that_fails_within_its_answer_is_an_error(
    tmp_path: Path, rows: str, header: str, rest: str, said: str
) -> None:
    with stranger("text/csv", rows + header + rest) as url:
        text = str(error_of(url, tmp_path, ASKED["read"], StoreError))
    assert text.endswith(said)


def test_the_content_type_may_be_in_capitals(tmp_path: Path) -> None:
    with stranger("TEXT/CSV ; charset=UTF-8", ROW) as url:
        store = InfluxStore(InfluxAddress(url, "org", "bucket", TOKEN), tmp_path)
        try:
            assert len(store.read(SAMPLE, DAY)) == 1
        finally:
            store.close()
