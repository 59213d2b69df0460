"""A node that answers no ping."""

from __future__ import annotations

from collections.abc import Sequence

from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.machine import Change, Confirmation, Signal, Verdict
from tsobs_pipelines.alerting.rule import FRESH, AlertAsset, Doc, Example, Rule, Severity
from tsobs_pipelines.alerting.rules.nodes import by_host
from tsobs_pipelines.timeseries.evidence import answered, clause_of
from tsobs_pipelines.timeseries.sampling import SILENT_AFTER
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow

SILENCE_ALERTS = AlertAsset(
    name="silence_alerts",
    sensor="node_silence_sensor",
    description="Nodes of which nothing was heard for 15 minutes, and keys that are about to expire.",
    interval_s=30,
)

_SILENT = frozenset({"offline", "unreachable"})
_UPLINK = "most nodes went silent at once: look at the uplink of the observing host first"


def silence_signals(rows: Sequence[ConnectionRow]) -> dict[str, list[Signal]]:
    """Whether each round was answered.

    A round that was taken and says nothing of a node's path is bad evidence: the node is not in the tailnet,
    not unique, not sampled or not probed. Rounds that could not be taken say nothing.
    """
    result: dict[str, list[Signal]] = {}
    for host, mine in by_host(rows).items():
        signals = result[host] = []
        for row in mine:
            said = answered(row)
            if said is None:
                continue
            verdict = Verdict.GOOD if said else Verdict.BAD
            detail = clause_of(row) or row.connection_type
            signals.append(Signal(row.time, row.time, verdict, None, None, detail))
    return result


def _firing(change: Change) -> str:
    if change.detail in _SILENT:
        return f"{change.subject} answers no ping ({change.detail})"
    return change.detail


def _together(firing: Sequence[Change]) -> str:
    """One cause for most nodes is likely only where all of them are in the tailnet and don't answer."""
    return _UPLINK if all(change.detail in _SILENT for change in firing) else ""


NODE_SILENCE = Rule(
    key="silence",
    title="No answer",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=2, good=1, bad_for=SILENT_AFTER),
    evidence=RowEvidence(CONNECTIONS, lambda rows, _tailnet: silence_signals(rows)),
    asset=SILENCE_ALERTS,
    firing=_firing,
    resolved=lambda c: f"{c.subject} answers again",
    together=_together,
    fresh_for=FRESH,
    doc=Doc(
        about="node",
        fires=(
            "for 15 minutes no ping was answered (`offline`, `unreachable`), or the node was not in the "
            "tailnet, its name not unique, not sampled, or it could not be probed; the message says which"
        ),
        is_over="one is",
        example=Example("git", detail="unreachable", minutes=21),
    ),
)
