"""A node that answers no ping."""

from __future__ import annotations

from collections.abc import Sequence

from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.machine import Confirmation, Signal, Verdict
from tsobs_pipelines.alerting.rule import FRESH, SILENT_AFTER, AlertAsset, Doc, Example, Rule, Severity
from tsobs_pipelines.alerting.rules.nodes import by_host
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow

SILENCE_ALERTS = AlertAsset(
    name="silence_alerts",
    sensor="node_silence_sensor",
    description="Nodes that answer no ping for 15 minutes.",
)


def silence_signals(rows: Sequence[ConnectionRow]) -> dict[str, list[Signal]]:
    """Whether each round was answered; rounds that could not be taken (``unknown``) say nothing."""
    result: dict[str, list[Signal]] = {}
    for host, mine in by_host(rows).items():
        signals = result[host] = []
        for row in mine:
            path, time = row.connection_type, row.time
            if path == "unknown":
                continue
            silent = path in {"offline", "unreachable"}
            signals.append(Signal(time, time, Verdict.BAD if silent else Verdict.GOOD, None, None, path))
    return result


NODE_SILENCE = Rule(
    key="silence",
    title="No answer",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=2, good=1, bad_for=SILENT_AFTER),
    evidence=RowEvidence(CONNECTIONS, lambda rows, _tailnet: silence_signals(rows)),
    asset=SILENCE_ALERTS,
    firing=lambda c: f"{c.subject} answers no ping ({c.detail})",
    resolved=lambda c: f"{c.subject} answers again",
    together="most nodes went silent at once: look at the uplink of the observing host first",
    fresh_for=FRESH,
    doc=Doc(
        about="node",
        fires="no ping was answered for 15 minutes (`offline` or `unreachable`)",
        is_over="one is",
        example=Example("git", detail="unreachable", minutes=21),
    ),
)
