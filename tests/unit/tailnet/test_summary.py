"""The figures of a day, by hand and against numpy."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.tailnet.summary import percentile, summary_rows
from tsobs_pipelines.timeseries.schema import SUMMARY, ConnectionRow, SummaryRow, conform_all

DAY = date(2026, 11, 20)
START = datetime(2026, 11, 20, tzinfo=UTC)


def row(minute: int, kind: str = "direct", avg: float | None = 10.0, **values: object) -> ConnectionRow:
    received = 0 if avg is None else 6
    made: dict[str, object] = {
        "time": START + timedelta(minutes=minute),
        "tailnet": "default",
        "hostname": "git",
        "connection_type": kind,
        "relay_node": "none",
        "latency_avg": avg,
        "latency_max": avg,
        "pings_sent": 0 if kind == "unknown" else 6,
        "pings_received": received,
        **values,
    }
    return ConnectionRow(**made)  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 1))
def test_the_percentile_is_numpy_s(values: list[float], share: float) -> None:
    assert percentile(sorted(values), share) == pytest.approx(float(np.quantile(values, share)), abs=1e-6)


def test_a_day_by_hand() -> None:
    rows = [
        row(0, tx_delta=100, rx_delta=5),
        row(1, "relay", 30.0, tx_delta=50),
        row(2, "peer-relay", 20.0),
        row(3, "direct", 12.0, pings_received=3, latency_max=99.0),
        row(4, "unreachable", None),
        row(5, "offline", None),
        row(6, "unknown", None),
        row(7, "unknown", None, pings_sent=6, pings_received=1),
    ]
    [summary] = summary_rows(DAY, rows)
    assert summary == SummaryRow(
        time=START,
        tailnet="default",
        hostname="git",
        rounds=8,
        latency_p50=16.0,
        latency_p95=28.5,
        latency_max=99.0,
        loss=round(1 - 22 / 36, 6),  # neither the offline nor the untaken round
        share_direct=0.5,
        availability=round(5 / 7, 6),
        tx_bytes=150,
        rx_bytes=5,
    )
    assert conform_all(SUMMARY, [summary]) == [summary]


def test_figures_over_nothing_are_absent() -> None:
    [summary] = summary_rows(DAY, [row(0, "unknown", None)])
    absent = [name for name in SUMMARY.field_names if summary[name] is None]
    assert absent == [name for name in SUMMARY.field_names if name != "rounds"]


def test_days_nodes_and_tailnets_are_kept_apart() -> None:
    rows = [row(minute) for minute in (-1, 0, 1439, 1440)]
    rows += [row(0, hostname="other"), row(0, tailnet="demo")]
    found = [(one.tailnet, one.hostname, one.rounds) for one in summary_rows(DAY, rows)]
    assert found == [("default", "git", 2), ("default", "other", 1), ("demo", "git", 1)]
    assert summary_rows(DAY, []) == []
