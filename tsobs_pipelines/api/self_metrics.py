"""Prometheus metrics about tsobs itself: ticks, runs, heartbeats, the outbox, missing rounds.

Unknown values have no sample. Counts of the last hour are gauges, since they can decrease.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Gauge

from tsobs_pipelines.alerting.depth import ChannelDepth, Depth
from tsobs_pipelines.api.dagster_records import STATUSES, EndedRuns, Heartbeat, Tick, TickCount

COUNTED_SPAN = timedelta(hours=1)
"""Over how long ticks and runs are counted: the ``1h`` in the names."""


@dataclass(frozen=True, slots=True)
class Records:
    """What Dagster's records say: heartbeats and newest ticks, and the ticks and runs of the last hour."""

    heartbeats: Sequence[Heartbeat]
    newest: Sequence[Tick]
    ticks: Sequence[TickCount]
    runs: Sequence[EndedRuns]


class SelfMetrics:
    """The gauges of tsobs' own work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        # Not "job": Prometheus has a label of that name for each target, and would rename ours.
        tick, run = ("automation", "kind"), ("dagster_job", "status")
        self._beat = gauge("tsobs_daemon_heartbeat_age_seconds", "Age of a daemon's heartbeat", "daemon")
        self._tick_time = gauge(
            "tsobs_tick_timestamp_seconds",
            "Time of the newest tick of a schedule (when it was due) or sensor",
            *tick,
        )
        self._tick_status = gauge(
            "tsobs_tick_status", "1 for the status of the newest tick, 0 for the others", *tick, "status"
        )
        self._ticks = gauge("tsobs_ticks_1h", "Ticks of the last hour", *tick, "status")
        self._runs = gauge("tsobs_runs_1h", "Runs that ended in the last hour", *run)
        self._run_mean = gauge(
            "tsobs_run_duration_1h_mean_seconds",
            "Mean duration of the last hour's runs",
            *run,
        )
        self._run_longest = gauge(
            "tsobs_run_duration_1h_max_seconds", "Longest duration of the last hour's runs", *run
        )
        self._missing = gauge(
            "tsobs_node_rounds_missing_24h",
            "Rounds due but not stored, of the 24 hours that ended ten minutes ago",
            "tailnet",
            "hostname",
        )
        self._outbox = gauge("tsobs_outbox_messages", "Messages in the outbox that were not sent", "fate")
        self._oldest = gauge(
            "tsobs_outbox_oldest_pending_age_seconds",
            "Age of the oldest pending message; 0: none, NaN: not known",
        )
        self._channel = gauge(
            "tsobs_channel_messages", "Messages that a channel of alerts has not sent", "channel", "fate"
        )
        self._channel_refused = gauge(
            "tsobs_channel_refused", "1 if the newest message was refused by the channel", "channel"
        )

    def set_records(self, records: Records | None, now: datetime) -> None:
        """Take over what Dagster's records say; ``None``: they can't be read."""
        tick_gauges = (self._tick_time, self._tick_status, self._ticks)
        for gauge in (self._beat, *tick_gauges, self._runs, self._run_mean, self._run_longest):
            gauge.clear()
        if records is None:
            return
        for beat in records.heartbeats:
            self._beat.labels(beat.daemon).set(_age(beat.at, now))
        for tick in records.newest:
            self._tick_time.labels(tick.name, tick.kind).set(tick.at.timestamp())
            for status in STATUSES:
                self._tick_status.labels(tick.name, tick.kind, status).set(status == tick.status)
        for count in records.ticks:
            self._ticks.labels(count.name, count.kind, count.status).set(count.ticks)
        for runs in records.runs:
            self._set_runs(runs)

    def _set_runs(self, runs: EndedRuns) -> None:
        self._runs.labels(runs.job, runs.status).set(runs.runs)
        for gauge, seconds in ((self._run_mean, runs.mean_s), (self._run_longest, runs.longest_s)):
            if seconds is not None:
                gauge.labels(runs.job, runs.status).set(seconds)

    def set_outbox(self, depth: Depth | None, now: datetime) -> None:
        """Take over what waits in the outbox; ``None``: it can't be read."""
        for gauge in (self._outbox, self._channel, self._channel_refused):
            gauge.clear()
        if depth is None:
            self._oldest.set(math.nan)
            return
        for fate, count in _unsent(depth).items():
            self._outbox.labels(fate).set(count)
        for name, channel in depth.channels.items():
            self._channel_refused.labels(name).set(channel.refused is not None)
            for fate, count in _unsent(channel).items():
                self._channel.labels(name, fate).set(count)
        self._oldest.set(0.0 if depth.oldest_pending is None else _age(depth.oldest_pending, now))

    def set_missing(self, missing: Mapping[str, Mapping[str, int]] | None) -> None:
        """Take over how many rounds the nodes of each tailnet lack; ``None``: the store can't be read."""
        self._missing.clear()
        for tailnet, nodes in (missing or {}).items():
            for hostname, rounds in nodes.items():
                self._missing.labels(tailnet, hostname).set(rounds)


def _unsent(depth: Depth | ChannelDepth) -> dict[str, int]:
    return {
        "pending": depth.pending,
        "delivery_unknown": depth.delivery_unknown,
        "failed": depth.failed,
    }


def _age(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
