"""The simulated tailnet: deterministic, with its incidents, healthy on working days; and its process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsobs_pipelines.demo.server import DemoServer
from tsobs_pipelines.demo.tailnet import (
    CYCLE_DAYS,
    DAEMON_RESTART,
    INCIDENTS,
    NODES,
    OFFLINE_NIGHT,
    RELAYED_AFTERNOON,
    SLOW_EVENING,
    DemoTailnet,
    SimulatedIncident,
    next_incidents,
)
from tsobs_pipelines.demo.tailnet_journal import DEPTH_DAYS, ROUNDS_A_DAY, DemoJournal, first_after, size
from tsobs_pipelines.tailnet.changes import connection_changes
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rows import Collected, collect
from tsobs_pipelines.timeseries.schema import ConnectionRow

NOW = datetime(2026, 11, 24, 18, 0, 30, tzinfo=UTC)
NAMES = [node.name for node in NODES]
MINUTE = timedelta(minutes=1)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def journal(seed: int = 0) -> DemoJournal:
    return DemoJournal(DemoTailnet(seed))


def collected(start: datetime, rounds: int) -> Collected:
    lines = (journal().line(start + place * MINUTE) for place in range(rounds))
    counts = JournalCounts()
    result = collect(read_rounds(lines, counts), NAMES, "demo")
    assert (counts.rounds, counts.skipped_total) == (rounds, 0)
    return result


def of_node(rows: list[ConnectionRow], name: str | None) -> list[ConnectionRow]:
    return [row for row in rows if row["hostname"] == name]


def latencies(rows: list[ConnectionRow]) -> list[float]:
    return [value for row in rows if isinstance(value := row["latency_avg"], float)]


@given(st.integers(0, 40 * ROUNDS_A_DAY), st.integers(0, 5), st.integers(0, 40))
def test_a_round_depends_on_seed_and_time_alone(minutes: int, seed: int, days_later: int) -> None:
    at = FIRST + minutes * MINUTE
    line = journal(seed).line(at)
    assert line == journal(seed).line(at)
    later = at + timedelta(days=min(days_later, DEPTH_DAYS - 1), hours=24)
    place = at.hour * 60 + at.minute
    if later.date() - at.date() <= timedelta(days=DEPTH_DAYS):
        assert journal(seed).rounds(at.date(), later) == ROUNDS_A_DAY
        assert b"".join(journal(seed).chunks(at.date(), place, place + 1)) == line


def test_another_seed_is_another_tailnet() -> None:
    assert journal(1).line(FIRST) != journal(2).line(FIRST)


@settings(deadline=None)
@given(st.integers(0, ROUNDS_A_DAY), st.integers(0, ROUNDS_A_DAY))
def test_the_bytes_of_any_rounds_are_known_without_rendering(first: int, count: int) -> None:
    end = min(first + count % 40, ROUNDS_A_DAY)
    body = b"".join(journal().chunks(date(2026, 11, 20), first, end))
    assert (len(body), body.count(b"\n")) == (size(first, end), max(0, end - first))


@pytest.mark.parametrize("seed", [0, 6])
def test_no_round_of_a_cycle_outgrows_its_line(seed: int) -> None:
    for hour in range(CYCLE_DAYS * 24):
        for minute in (0, 1, 29):
            at = FIRST + timedelta(hours=hour, minutes=minute)
            assert len(journal(seed).line(at)) == size(at.minute % 10, at.minute % 10 + 1)


def test_the_journal_is_as_deep_as_it_says_and_grows_by_the_minute() -> None:
    days = journal().days(NOW)
    assert (len(days), days[-1]) == (DEPTH_DAYS + 1, NOW.date())
    assert [journal().rounds(day, NOW) for day in days] == [ROUNDS_A_DAY] * DEPTH_DAYS + [18 * 60 + 1]
    assert journal().rounds(NOW.date() + timedelta(days=1), NOW) == 0
    assert journal().rounds(days[0] - timedelta(days=1), NOW) == 0
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    assert journal().rounds(NOW.date(), midnight) == 0
    assert journal().rounds(NOW.date(), midnight + timedelta(seconds=1)) == 1


def test_places_after_a_time() -> None:
    day = date(2026, 11, 20)
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    assert first_after(day, midnight - timedelta(days=9)) == 0
    assert first_after(day, midnight - timedelta(microseconds=1)) == 0
    assert first_after(day, midnight) == 1
    assert first_after(day, midnight + timedelta(seconds=59)) == 1
    assert first_after(day, midnight + timedelta(days=1)) == ROUNDS_A_DAY


@given(st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_last_30_days_hold_every_incident_and_all_stand_on_week_ends(now: datetime) -> None:
    begun = next_incidents(now - timedelta(days=30))
    assert set(begun) == set(INCIDENTS)
    for incident, start in begun.items():
        end = start + timedelta(hours=incident.end - incident.start)
        assert end <= now - timedelta(days=2) + timedelta(days=CYCLE_DAYS)
        assert start.weekday() in {5, 6}
        assert (end - MINUTE).weekday() in {5, 6}


def begins(incident: SimulatedIncident) -> datetime:
    return next_incidents(FIRST)[incident]


def test_the_relayed_afternoon() -> None:
    start = begins(RELAYED_AFTERNOON)
    rows = of_node(collected(start - 10 * MINUTE, 260).connections, RELAYED_AFTERNOON.node)
    kinds = [(row["connection_type"], row["relay_node"]) for row in rows]
    assert kinds == [("direct", "none")] * 10 + [("relay", "fra")] * 240 + [("direct", "none")] * 10


def test_the_slow_evening_is_over_100_ms_for_more_than_an_hour() -> None:
    rows = of_node(collected(begins(SLOW_EVENING) - 30 * MINUTE, 180).connections, SLOW_EVENING.node)
    assert {row["connection_type"] for row in rows} == {"direct"}
    assert sum(latency > 100 for latency in latencies(rows)) > 60
    assert max(latencies(rows[:30] + rows[150:])) < 80


def test_the_offline_night() -> None:
    rows = of_node(collected(begins(OFFLINE_NIGHT) - 5 * MINUTE, 430).connections, OFFLINE_NIGHT.node)
    kinds = [row["connection_type"] for row in rows]
    assert kinds == ["direct"] * 5 + ["offline"] * 420 + ["direct"] * 5
    assert rows[100]["tx_bytes"] == 0


def test_the_restart_fails_two_rounds_and_resets_every_counter_once() -> None:
    found = collected(begins(DAEMON_RESTART) - 5 * MINUTE, 20)
    assert found.failed_rounds == 2
    resets = [change for change in connection_changes(found.connections) if change.aspect == "counter_reset"]
    assert sorted(change.hostname for change in resets) == sorted(NAMES)


def test_a_working_day_is_healthy_busy_and_has_a_rhythm() -> None:
    found = collected(datetime(2026, 11, 24, tzinfo=UTC), ROUNDS_A_DAY)
    assert {row["connection_type"] for row in found.connections} == {"direct"}
    assert connection_changes(found.connections) == []
    assert len(found.netchecks) == ROUNDS_A_DAY // 10 * 4
    for name in NAMES:
        rows = of_node(found.connections, name)
        assert max(latencies(rows)) < 80
        night, day = latencies(rows[150:210]), latencies(rows[870:930])
        assert sum(day) / 60 > 1.2 * sum(night) / 60
        moved = [delta for row in rows if isinstance(delta := row["tx_delta"], int)]
        assert len(moved) == ROUNDS_A_DAY - 1
        assert min(moved) > 0
        assert any(row["pings_received"] != row["pings_sent"] for row in rows), "a lost ping now and then"


def test_it_listens_on_loopback_only_and_marks_itself() -> None:
    server = DemoServer(0)
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


@pytest.fixture
def process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "tsobs_pipelines.demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        yield started, started.stdout.readline().split()[-1]
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_and_ends_cleanly(
    process: tuple[subprocess.Popen[str], str], number: signal.Signals
) -> None:
    started, url = process
    with httpx.Client(base_url=url, trust_env=False) as client:
        response = client.get("/healthz")
        assert response.json()["demo"] is True
        assert response.headers["x-tsobs-demo"] == "1"
        started.send_signal(number)  # while a connection is open
        output, errors = started.communicate(timeout=10)
    assert (started.returncode, output, errors) == (0, "", "")


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tsobs_pipelines.demo", "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert f"port {port}" in ended.stderr


def test_the_process_loads_nothing_heavy() -> None:
    program = "import json, sys, tsobs_pipelines.demo.__main__; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(ended.stdout)}
    assert not loaded & {
        "pandas",
        "numpy",
        "fastapi",
        "dagster",
        "prophet",
        "httpx",
        "pydantic",
        "sqlalchemy",
    }
