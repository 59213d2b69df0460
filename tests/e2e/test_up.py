"""``tsobs up`` on the demo tailnet, without any setting."""

from __future__ import annotations

import os
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.running import Running, eventually, running, start, up_environment
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

WHERE = {"tailnet": "demo"}

PARTITIONS = """{assetNodeOrError(assetKey: {path: ["connection_metrics"]}) {
  ... on AssetNode {partitionStats {numMaterialized numPartitions numFailed}}}}"""


def materialised(tsobs: Running) -> int:
    """How many partitions of connection_metrics Dagster shows as filled."""
    node = tsobs.graphql(PARTITIONS)["assetNodeOrError"]
    assert isinstance(node, dict)
    return int(node["partitionStats"]["numMaterialized"])


def rounds_by_day(tsobs: Running) -> dict[str, int]:
    """Rounds in the store, by day."""
    store = SqlStore(f"sqlite:///{tsobs.state / 'tsobs.db'}")
    window = Window.trailing(datetime.now(UTC) + timedelta(days=1), timedelta(days=40))
    return {str(day): count for day, count in store.count_times(CONNECTIONS, window, WHERE).items()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


def is_open_to_others(path: Path) -> bool:
    """Whether another user could open it, also to lock it; what was removed meanwhile could not."""
    try:
        return bool(path.lstat().st_mode & 0o077) and not path.is_symlink()
    except FileNotFoundError:
        return False


def test_a_newcomer_sees_thirty_days_and_ends_it_with_one_key(directory: Path) -> None:
    with running(directory) as tsobs:
        assert "DEMO tailnet" in tsobs.printed()
        assert httpx.get(f"http://127.0.0.1:{tsobs.dagster_port}/server_info").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{tsobs.api_port}/vpn.html").status_code == 200
        eventually(lambda: materialised(tsobs) >= 31, 200, "31 partitions are filled")
        days = rounds_by_day(tsobs)
        yesterday = str((datetime.now(UTC) - timedelta(days=1)).date())
        assert days[yesterday] == 1440
        assert sum(count == 1440 for count in days.values()) >= 29
        assert [path for path in (tsobs.state, *tsobs.state.rglob("*")) if is_open_to_others(path)] == []
        begun = time.monotonic()
        assert tsobs.interrupt() == 0
        assert time.monotonic() - begun < 10
        assert tsobs.descendants() == []


@pytest.mark.long
def test_the_second_start_fills_the_gap_of_a_crash(directory: Path) -> None:
    with running(directory) as tsobs:
        before = sum(rounds_by_day(tsobs).values())
        everything = tsobs.descendants()
        for pid in everything:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not tsobs.descendants(), 10, "every process is gone")
    store = SqlStore(f"sqlite:///{directory / 'var' / 'tsobs.db'}")
    today = Window.of_day(datetime.now(UTC).date())
    store.delete(CONNECTIONS, Window(today.start, today.start + timedelta(minutes=10)), WHERE)
    store.delete(CONNECTIONS, Window(today.start - timedelta(days=3), today.start - timedelta(days=2)), WHERE)
    with running(directory) as tsobs:
        eventually(lambda: sum(rounds_by_day(tsobs).values()) >= before, 150, "the gap is filled")


@pytest.mark.long
def test_a_damaged_or_missing_history_ends_it_with_the_way_back(directory: Path, tmp_path: Path) -> None:
    runs = directory / "var" / "dagster" / "storage" / "history" / "runs.db"
    whole = runs.read_bytes()
    try:
        runs.write_bytes(b"rubbish" * 1000)
        line = broken_start(tmp_path, directory / "var")
        assert f"{runs} is damaged" in line
        assert "restore it from a backup" in line
        runs.unlink()
        line = broken_start(tmp_path, directory / "var")
        assert f"{runs} is gone" in line
    finally:
        runs.write_bytes(whole)


def broken_start(tmp_path: Path, state: Path) -> str:
    """The last line of a start that ends at what it found in the state."""
    attempt = start(up_environment(state), tmp_path / "attempt.out")
    assert attempt.process.wait(60) == 2
    return attempt.printed().splitlines()[-1]


@pytest.mark.long
def test_one_state_directory_has_one_tsobs(directory: Path, tmp_path: Path) -> None:
    with running(directory) as tsobs:
        second = start(up_environment(tsobs.state), tmp_path / "second.out")
        assert second.process.wait(30) == 2
        assert "already running on this directory" in second.printed()


def one_line(tmp_path: Path, state: Path, **settings: str) -> str:
    """What a start that can't work prints."""
    attempt = start(up_environment(state, **settings), tmp_path / "attempt.out")
    assert attempt.process.wait(30) == 2
    printed = attempt.printed()
    assert printed.count("\n") == 1
    return printed


def test_a_taken_port_ends_it_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = one_line(tmp_path, tmp_path / "var", TSOBS_API_PORT=port)
    assert line.startswith(f"tsobs: TSOBS_API_PORT={port}: ")
    assert "in use" in line


def test_a_part_that_dies_each_time_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    attempt = start(up_environment(tmp_path / "var", INFLUXDB_V2_URL="http://127.0.0.1:1"), tmp_path / "out")
    assert attempt.process.wait(120) == 1
    last = [line for line in attempt.printed().splitlines() if line.startswith("tsobs: ")]
    assert len(last) == 1
    assert (
        "tsobs: api ended 4 times before it served: INFLUXDB_V2_ORG and INFLUXDB_V2_TOKEN: unset" in last[0]
    )
    eventually(lambda: not attempt.descendants(), 10, "every process is gone")


def test_a_state_directory_that_cannot_be_made_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = one_line(tmp_path, tmp_path / "file" / "var")
    assert "TSOBS_STATE_DIR" in line
    assert str(tmp_path / "file" / "var") in line


def test_a_state_directory_that_is_too_deep_for_a_socket_ends_it_at_once(tmp_path: Path) -> None:
    line = one_line(tmp_path, tmp_path / ("deep" * 25))
    assert "TSOBS_STATE_DIR" in line
    assert "expected a path shorter by" in line


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TSOBS_SIDECAR_URL", "sidecar:8765", "expected an http:// or https:// address"),
        ("TSOBS_LATENCY_THRESHOLD_MS", "fast", "valid number"),
        ("TSOBS_MARKET_TIMEZONE", "Mars/Olympus", "expected a time zone name"),
        ("TSOBS_PRICE_SOURCE", "guess", "expected demo, redata, redata:pvpc, esios"),
        ("TSOBS_PRICE_SOURCE", "csv:s3://bucket/prices.csv", "Install s3fs to access S3"),
        ("TSOBS_PRICE_SOURCE", "csv:nowhere://prices.csv", "Protocol not known: nowhere"),
        ("TSOBS_PRICE_SOURCE", "esios", "expected a token of ESIOS in TSOBS_ESIOS_TOKEN"),
        ("TSOBS_START_DATE", "yesterday", "valid date"),
    ],
)
def test_a_bad_setting_ends_it_with_one_line(tmp_path: Path, name: str, value: str, expected: str) -> None:
    line = one_line(tmp_path, tmp_path / "var", **{name: value})
    assert name in line
    assert value in line
    assert expected in line
