"""Connection changes, as they are logged."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.tailnet.changes import connection_changes, daemon_changes
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.timeseries.schema import ConnectionRow

START = datetime(2026, 11, 20, tzinfo=UTC)


def row(
    minute: int, kind: str, relay: str = "none", tx: int | None = None, name: str = "git"
) -> ConnectionRow:
    return ConnectionRow(
        time=START + timedelta(minutes=minute),
        tailnet="default",
        hostname=name,
        connection_type=kind,
        relay_node=relay,
        latency_avg=12.5,
        tx_bytes=tx,
        rx_bytes=tx,
    )


def told(
    rows: list[ConnectionRow], before: list[ConnectionRow] | None = None
) -> list[tuple[str, str, str, str]]:
    changes = connection_changes(rows, before or [])
    return [(change.hostname, change.aspect, change.before, change.after) for change in changes]


def test_paths_relay_nodes_and_being_online() -> None:
    rows = [
        row(0, "direct"),
        row(1, "direct"),
        row(2, "relay", "fra"),
        row(3, "relay", "nyc"),
        row(4, "unreachable"),
        row(5, "offline"),
        row(6, "direct"),
    ]
    assert told(rows) == [
        ("git", "path", "direct", "relay"),
        ("git", "relay_node", "fra", "nyc"),
        ("git", "path", "relay", "unreachable"),
        ("git", "online", "unreachable", "offline"),
        ("git", "online", "offline", "direct"),
    ]


def test_unknown_says_nothing_and_hides_nothing() -> None:
    assert told([row(0, "direct"), row(1, "unknown"), row(2, "direct")]) == []
    assert told([row(0, "direct"), row(1, "unknown"), row(2, "relay", "fra")]) == [
        ("git", "path", "direct", "relay")
    ]


def test_counters_that_went_back() -> None:
    rows = [row(0, "direct", tx=500), row(1, "unknown"), row(2, "direct", tx=20), row(3, "direct", tx=20)]
    assert told(rows) == [("git", "counter_reset", "1000", "40")]


def test_nodes_do_not_mix_and_the_first_row_is_no_change() -> None:
    assert told([row(0, "direct"), row(0, "relay", "fra", name="other"), row(1, "direct")]) == []


def test_the_log_record_of_a_change() -> None:
    [change] = connection_changes([row(1, "relay", "fra")], [row(0, "direct")])
    assert change.level == logging.WARNING
    assert change.message == "git: path direct → relay"
    assert change.fields() == {
        "hostname": "git",
        "change": "path",
        "from": "direct",
        "to": "relay",
        "latency_ms": 12.5,
        "at": "2026-11-20T00:01:00+00:00",
    }
    [back] = connection_changes([row(2, "direct")], [row(1, "relay", "fra")])
    assert back.level == logging.INFO


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["direct", "relay", "unknown", "offline"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 99),
    ),
    max_size=20,
)


@given(_STEPS, st.integers(0, 20))
def test_told_once_wherever_the_rows_are_cut(steps: list[tuple[str, str, int]], cut: int) -> None:
    rows = [row(minute, kind, tx=tx, name=name) for minute, (kind, name, tx) in enumerate(steps)]
    assert told(rows) == told(rows[:cut]) + told(rows[cut:], rows[:cut])


def test_the_daemon_stops_comes_back_and_is_updated() -> None:
    states = [("Running", "1.0"), ("", ""), ("", ""), ("Running", "1.0"), ("Running", "1.1")]
    rounds = [
        Round(v=1, at=START + timedelta(minutes=minute), state=state, daemon=version)
        for minute, (state, version) in enumerate(states)
    ]
    changes = [(change.at.minute, change.before, change.after) for change in daemon_changes(rounds)]
    assert changes == [(1, "Running", "no answer"), (3, "no answer", "Running"), (4, "1.0", "1.1")]
    assert daemon_changes(rounds[1:], rounds[:1]) == daemon_changes(rounds)
