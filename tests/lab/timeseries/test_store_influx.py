"""The contract of the store against a real InfluxDB 2, and failures specific to a server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.lab.influx import Influx
from tests.support.store_contract import DAY, LONG, SAMPLE, StoreContract, sample
from tsobs_pipelines.timeseries import influx_client
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_client import InfluxAddress, InfluxConnection
from tsobs_pipelines.timeseries.schema import MEASUREMENTS
from tsobs_pipelines.timeseries.store import Aggregate, StoreError, StoreUnavailableError


@pytest.fixture
def address(influx: Influx) -> InfluxAddress:
    return InfluxAddress(influx.url, influx.org, influx.bucket, influx.token)


@pytest.fixture
def store(address: InfluxAddress, tmp_path: Path) -> Iterator[InfluxStore]:
    store = InfluxStore(address, tmp_path / "locks")
    for measurement in (SAMPLE, *MEASUREMENTS):
        store.delete(measurement, LONG)
    yield store
    store.close()


class TestContract(StoreContract):
    """InfluxDB keeps the contract."""


class Killed(BaseException):
    """Stands for the end of the process in the middle of something."""


@pytest.mark.parametrize("requests", range(12))
def test_a_writer_killed_between_two_requests_leaves_no_gap(
    store: InfluxStore, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [sample(minute, "a", level=2.0) for minute in range(6)]
    new = [
        sample(0),
        sample(1, kind="relay"),
        sample(2, level=None),
        sample(3, kind="x", level=None),
        sample(7),
    ]
    store.write(SAMPLE, old)
    left = requests

    def counted(method: str) -> None:
        real = getattr(InfluxConnection, method)

        def perform(self: InfluxConnection, *arguments: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(self, *arguments)

        monkeypatch.setattr(InfluxConnection, method, perform)

    counted("write")
    counted("delete")
    try:
        store.replace(SAMPLE, DAY, new)
    except Killed:
        times = {row["time"] for row in store.read(SAMPLE, DAY)}
        assert times >= {row["time"] for row in old[:4]}
    monkeypatch.undo()
    store.replace(SAMPLE, DAY, new)
    assert store.read(SAMPLE, DAY) == new
    assert store.count_times(SAMPLE, DAY) == {DAY.start.date(): 5}


def test_a_second_writer_waits_until_the_first_one_has_removed_what_is_stale(
    address: InfluxAddress, store: InfluxStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = [[sample(0, kind="direct")], [sample(0, kind="relay")]]
    has_looked, may_write = threading.Event(), threading.Event()
    real = InfluxConnection.write

    def held_once(self: InfluxConnection, lines: Sequence[str]) -> None:
        if not has_looked.is_set():
            has_looked.set()
            assert may_write.wait(30)
        real(self, lines)

    monkeypatch.setattr(InfluxConnection, "write", held_once)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.replace, SAMPLE, DAY, ways[0])
        assert has_looked.wait(30)
        other = InfluxStore(address, tmp_path / "locks")
        second = pool.submit(other.replace, SAMPLE, DAY, ways[1])
        # Without a lock it would be done within milliseconds, and the first one would not know of its row.
        wait([second], timeout=1)
        may_write.set()
        first.result()
        second.result()
    assert store.read(SAMPLE, DAY) == ways[1]
    found = store.downsample(SAMPLE, DAY, timedelta(days=1), [Aggregate("level", "count", "rows")])
    assert [row["rows"] for row in found] == [1], "no point is left beside the row"


def test_a_stopped_server_is_unavailable_and_the_store_comes_back_with_it(
    influx: Influx, store: InfluxStore
) -> None:
    store.write(SAMPLE, [sample(0)])
    influx.stop()
    try:
        with pytest.raises(StoreUnavailableError):
            store.read(SAMPLE, DAY)
        with pytest.raises(StoreUnavailableError):
            store.write(SAMPLE, [sample(1)])
        with pytest.raises(StoreUnavailableError):
            store.ping()
    finally:
        influx.start()
    store.write(SAMPLE, [sample(1)])
    assert store.read(SAMPLE, DAY) == [sample(0), sample(1)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token": "not-the-token"}, "INFLUXDB_V2_TOKEN"),
        ({"bucket": "no-such-bucket"}, "TSOBS_INFLUX_BUCKET"),
        ({"bucket": 'analytics" |> drop()'}, "TSOBS_INFLUX_BUCKET"),
        ({"org": "no-such-org"}, "INFLUXDB_V2_ORG"),
    ],
)
def test_a_wrong_setting_is_named_at_once(
    address: InfluxAddress, tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    store = InfluxStore(replace(address, **wrong), tmp_path)
    for attempt in (
        lambda: store.read(SAMPLE, DAY),
        lambda: store.write(SAMPLE, [sample(0)]),
        lambda: store.delete(SAMPLE, DAY),
        store.ping,
    ):
        with pytest.raises(StoreError, match=said) as caught:
            attempt()
        assert not isinstance(caught.value, StoreUnavailableError)
        assert "not-the-token" not in str(caught.value)
        assert address.token not in str(caught.value)
    assert address.token not in repr(address)


class Server:
    """Answers every request with the same bytes; ``None`` keeps it waiting."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.requests = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            connection.recv(65536)
            self.requests += 1
            if self._answer is not None:
                connection.sendall(self._answer)
                connection.close()

    def close(self) -> None:
        self._listening.close()
        for connection in self._open:
            connection.close()


def answer(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/csv\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("reply", "error", "said", "requests"),
    [
        (answer("503 Service Unavailable", '{"message": "busy with secret-token"}'), True, "busy", 3),
        (answer("500 Internal Server Error", "<html>"), True, "500", 3),
        (answer("429 Too Many Requests", "{}"), True, "429", 3),
        (answer("400 Bad Request", '{"message": "no such thing secret-token"}'), False, "no such thing", 1),
        (b"", True, "InfluxDB", 3),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 999\r\n\r\n,result,table,_time",
            True,
            "InfluxDB",
            3,
        ),
        (None, True, "timed out", 3),
        (
            answer("200 OK", ",result,table,_time,place\r\n,error,reference\r\n,out of memory,897\r\n"),
            False,
            "InfluxDB",
            1,
        ),
        (
            answer("200 OK", ",error,reference\r\n,out of memory secret-token,897\r\n"),
            False,
            "out of memory",
            1,
        ),
    ],
)
def test_bad_answers_become_the_right_error_after_the_right_number_of_attempts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reply: bytes | None,
    error: bool,
    said: str,
    requests: int,
) -> None:
    monkeypatch.setattr(influx_client, "READ_TIMEOUT_MS", 200)
    server = Server(reply)
    try:
        store = InfluxStore(InfluxAddress(server.url, "org", "bucket", "secret-token"), tmp_path)
        with pytest.raises(StoreError, match=said) as caught:
            store.read(SAMPLE, DAY)
    finally:
        server.close()
    assert isinstance(caught.value, StoreUnavailableError) is error
    assert "secret-token" not in str(caught.value)
    assert server.requests == requests
