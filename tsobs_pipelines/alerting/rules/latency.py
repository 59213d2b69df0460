"""A node with high latency: the mean of each closed 5-minute span against its threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from statistics import fmean

from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.machine import Change, Confirmation, Signal
from tsobs_pipelines.alerting.rule import (
    FRESH,
    AlertAsset,
    Doc,
    Example,
    Icon,
    Rule,
    Severity,
    Unit,
    ms_text,
)
from tsobs_pipelines.alerting.rules.limits import above
from tsobs_pipelines.alerting.rules.nodes import by_host
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.spans import span_start

BUCKET = timedelta(minutes=5)


def latency_signals(
    rows: Sequence[ConnectionRow], threshold_of: Callable[[str], float]
) -> dict[str, list[Signal]]:
    """The mean of ``latency_avg`` over each 5 minutes (aligned to the epoch) in which there was a pong.

    ``rows`` are whole buckets of ``tailscale_connections`` in the order of time.
    """
    result: dict[str, list[Signal]] = {}
    for host, mine in by_host(rows).items():
        limit = threshold_of(host)
        measured = ((row.time, row.latency_avg) for row in mine if row.latency_avg is not None)
        spans = groupby(measured, key=lambda one: span_start(one[0], BUCKET))
        result[host] = [_signal(start, fmean(latency for _, latency in span), limit) for start, span in spans]
    return result


def _signal(start: datetime, mean: float, limit: float) -> Signal:
    return Signal(start + BUCKET, start, above(mean, limit), mean, limit)


def _firing(change: Change) -> str:
    worst = f", worst {ms_text(change.worst)}" if (change.worst or 0) > (change.value or 0) else ""
    mean = f"{ms_text(change.value)} in the 5-minute mean, over {ms_text(change.limit)}"
    return f"high latency to {change.subject}: {mean}{worst}"


def _resolved(change: Change) -> str:
    limits = f"limit {ms_text(change.limit)}, worst was {ms_text(change.worst)}"
    return f"latency to {change.subject} is back to {ms_text(change.value)} ({limits})"


LATENCY = Rule(
    key="latency",
    title="High latency",
    unit=Unit.MILLISECONDS,
    icon=Icon.SQUARE,
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=1, good=2),
    evidence=RowEvidence(
        CONNECTIONS, lambda rows, tailnet: latency_signals(rows, tailnet.latency_threshold_of)
    ),
    asset=AlertAsset(
        name="latency_alerts",
        sensor="latency_alert_sensor",
        description="Nodes whose 5-minute latency is over the threshold.",
        # A span that is closed should be told within half a minute, run and message included.
        interval_s=15,
    ),
    firing=_firing,
    resolved=_resolved,
    together=lambda _: "most nodes are slow at once: look at the uplink of the observing host first",
    align=BUCKET,
    fresh_for=FRESH,
    doc=Doc(
        about="node",
        fires="the mean latency of a closed 5-minute span (:00, :05, …) is above the threshold",
        is_over="two such spans in a row at or below 80 % of it",
        example=Example("git", value=143.0, limit=100.0, value_after=23.0),
    ),
)
