"""Messages sent during a day of flapping, compared with one message per 5-minute evaluation.

Prints one line a pattern. Run: ``python bench/alerts_flapping.py``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tsobs_pipelines.alerting.evaluation import step_topics
from tsobs_pipelines.alerting.evidence import Signals
from tsobs_pipelines.alerting.machine import Voice
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules.latency import LATENCY, latency_signals
from tsobs_pipelines.alerting.rules.relay import RELAY, relay_signals
from tsobs_pipelines.timeseries.schema import ConnectionRow

START = datetime(2026, 11, 24, tzinfo=UTC)


def day(bad: int, good: int) -> list[ConnectionRow]:
    """A day in which a node is slow and relayed for some minutes, then neither for some."""
    rows: list[ConnectionRow] = []
    for minute in range(1440):
        ill = minute % (bad + good) < bad
        rows.append(
            ConnectionRow(
                time=START + timedelta(minutes=minute),
                tailnet="default",
                hostname="git",
                connection_type="relay" if ill else "direct",
                relay_node="fra" if ill else "none",
                latency_avg=300.0 if ill else 20.0,
            )
        )
    return rows


def messages(rule: Rule, signals: Signals) -> int:
    """How many messages the rule sends, reminders apart."""
    return sum(change.voice is not Voice.HELD for change in step_topics(rule, {}, signals)[1])


def naive(rows: list[ConnectionRow]) -> tuple[int, int]:
    """A message at each look that finds the newest round slow or relayed."""
    looks = rows[4::5]
    slow = sum((row.latency_avg or 0) > 100 for row in looks)
    return slow, sum(row.connection_type == "relay" for row in looks)


def main() -> None:
    """Print the counts."""
    for bad, good in ((1, 1), (2, 2), (5, 5), (10, 10), (30, 30)):
        rows = day(bad, good)
        slow, relayed = naive(rows)
        print(
            json.dumps(
                {
                    "minutes bad/good": f"{bad}/{good}",
                    "latency": messages(LATENCY, latency_signals(rows, lambda _: 100.0)),
                    "latency, each look": slow,
                    "relay": messages(RELAY, relay_signals(rows)),
                    "relay, each look": relayed,
                }
            )
        )


if __name__ == "__main__":
    main()
