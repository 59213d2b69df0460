"""Fifty nodes for thirty days with two hundred known incidents: exactly these are found, with any ticks."""

from __future__ import annotations

import random
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.alert_rows import TAILNET
from tsobs_pipelines.alerting.evaluation import observe_rows, step_topics
from tsobs_pipelines.alerting.machine import Change, Kind, TopicState, Voice
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.rules.relay import RELAY
from tsobs_pipelines.alerting.store import Progress
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

pytestmark = pytest.mark.long

START = datetime.fromisoformat("2026-10-01T00:00:00+00:00")
MINUTES = 30 * 1440
NODES = [f"node-{number:02}" for number in range(50)]
NOISE = ("offline", "unreachable", "unknown", "peer-relay")


@dataclass(frozen=True)
class Known:
    """An incident that was put into the data: whole minutes since the start."""

    host: str
    kind: str
    begin: int
    end: int


def known_incidents(numbers: random.Random) -> list[Known]:
    """Two hundred incidents of 15 minutes to 10 hours, an hour and more apart on the same node."""
    found: list[Known] = []
    while len(found) < 200:
        begin = numbers.randrange(60, MINUTES - 800)
        new = Known(
            numbers.choice(NODES),
            numbers.choice(["latency", "relay"]),
            begin,
            begin + numbers.randint(15, 600),
        )
        if all(new.host != old.host or new.begin > old.end + 60 or new.end < old.begin - 60 for old in found):
            found.append(new)
    return found


def month(seed: int) -> tuple[list[Known], dict[str, list[ConnectionRow]]]:
    """The incidents and the rows of each node."""
    numbers = random.Random(seed)  # noqa: S311 - data, not secrets
    known = known_incidents(numbers)
    data: dict[str, list[ConnectionRow]] = {}
    times = [START + timedelta(minutes=minute) for minute in range(MINUTES)]
    for host in NODES:
        latency = [numbers.uniform(5, 75) for _ in range(MINUTES)]
        path = ["direct"] * MINUTES
        # Single bad rounds, and rounds that say nothing: neither may alarm.
        for minute in numbers.sample(range(0, MINUTES - 10, 10), 400):
            path[minute] = "relay"
        for minute in numbers.sample(range(5, MINUTES - 10, 10), 400):
            path[minute] = numbers.choice(NOISE)
        for incident in known:
            if incident.host == host:
                span = range(incident.begin, incident.end)
                for minute in span:
                    if incident.kind == "latency":
                        latency[minute] = numbers.uniform(250, 800)
                    else:
                        path[minute] = "relay"
                if incident.kind == "relay":
                    for minute in (
                        *range(incident.begin - 3, incident.begin),
                        *range(incident.end, incident.end + 3),
                    ):
                        path[minute] = "direct"
        data[host] = [
            ConnectionRow(
                time=time,
                tailnet=TAILNET.name,
                hostname=host,
                connection_type=path[minute],
                relay_node="fra" if path[minute] == "relay" else "none",
                latency_avg=None if path[minute] in NOISE[:3] else latency[minute],
            )
            for minute, time in enumerate(times)
        ]
    return known, data


@pytest.fixture(scope="module")
def generated() -> tuple[list[Known], dict[str, list[ConnectionRow]]]:
    return month(20)


class Rows:
    """As much of a store as reading on needs."""

    def __init__(self, rows: Sequence[ConnectionRow]) -> None:
        self.rows = rows
        self.start = start_of(rows)

    def read(self, measurement: object, window: Window, _where: object) -> list[ConnectionRow]:
        if measurement is not CONNECTIONS:
            return []
        first, end = ((edge - self.start) / timedelta(minutes=1) for edge in (window.start, window.end))
        return list(self.rows[max(0, ceil(first)) : max(0, ceil(end))])


def start_of(rows: Sequence[ConnectionRow]) -> datetime:
    """The time of the first row."""
    return rows[0].time


def replay(
    rule: Rule, rows: Sequence[ConnectionRow], tick: int, restarts: Container[int] = ()
) -> list[Change]:
    """The changes in ticks of so many minutes; state goes through its text after the ticks ``restarts``."""
    states: dict[str, TopicState] = {}
    changes: list[Change] = []
    start = start_of(rows)
    progress: Progress | None = Progress(start, start, start, 0)
    for number, end in enumerate(range(tick, len(rows) + tick, tick)):
        complete_to = start + timedelta(minutes=min(end, len(rows)) - 1)
        store = cast("TimeSeriesStore", Rows(rows))
        observe = observe_rows(store, TAILNET, rule, complete_to)
        observed = observe(progress)
        moved, found = step_topics(rule, states, observed.signals)
        progress = Progress(start, start, observed.until, number)
        states |= moved
        changes += found
        if number in restarts:
            states = {topic: TopicState.from_json(state.to_json()) for topic, state in states.items()}
    return changes


def incidents(changes: Sequence[Change]) -> list[tuple[str, datetime, datetime | None]]:
    return [
        (change.topic, change.since, change.until)
        for change in changes
        if change.kind is Kind.RESOLVED and change.voice is not Voice.LATE
    ]


def test_every_incident_is_found_and_no_other(
    generated: tuple[list[Known], dict[str, list[ConnectionRow]]],
) -> None:
    known, data = generated
    for rule, slack in ((LATENCY, timedelta(minutes=5)), (RELAY, timedelta(minutes=1))):
        expected = sorted((k.host, k.begin, k.end) for k in known if k.kind == rule.key)
        found = sorted(
            (topic.removeprefix(f"{rule.key}_"), since, until)
            for host in NODES
            for topic, since, until in incidents(replay(rule, data[host], 60))
        )
        assert [host for host, _, _ in found] == [host for host, _, _ in expected]
        for (_, since, until), (_, begin, end) in zip(found, expected, strict=True):
            assert until is not None
            assert abs(since - (START + timedelta(minutes=begin))) <= slack
            assert abs(until - (START + timedelta(minutes=end))) <= slack
    assert len(known) == 200


@pytest.mark.parametrize(("rule", "ticks"), [(LATENCY, (1, 5, 7, 60)), (RELAY, (1, 5, 60))])
def test_no_tick_and_no_restart_changes_a_thing(
    generated: tuple[list[Known], dict[str, list[ConnectionRow]]], rule: Rule, ticks: tuple[int, ...]
) -> None:
    known, data = generated
    hosts = sorted({incident.host for incident in known if incident.kind == rule.key})[:2]
    for host in hosts:
        rows = data[host]
        expected = replay(rule, rows, MINUTES)
        assert expected
        for tick in ticks:
            assert replay(rule, rows, tick, range(0, MINUTES, 7)) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 199),
    st.sampled_from([1, 5, 60]),
    st.integers(0, 1440),
    st.integers(0, 1440),
    st.sets(st.integers(0, 3000), max_size=40),
)
def test_any_incident_in_any_tick_restarted_anywhere(
    generated: tuple[list[Known], dict[str, list[ConnectionRow]]],
    number: int,
    tick: int,
    before: int,
    after: int,
    restarts: set[int],
) -> None:
    known, data = generated
    incident = known[number]
    rule = LATENCY if incident.kind == "latency" else RELAY
    # A span is whole at its beginning: the watch reads on from where it stands, and it stands on the grid.
    begin = max(0, incident.begin - 60 - before) // 5 * 5
    rows = data[incident.host][begin : incident.end + 60 + after]
    found = replay(rule, rows, tick, restarts)
    assert found == replay(rule, rows, len(rows))
    slack = timedelta(minutes=5)
    due = START + timedelta(minutes=incident.begin)
    assert any(abs(since - due) <= slack for _, since, _ in incidents(found))
