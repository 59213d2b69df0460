"""A node that is reached through a DERP relay instead of directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.machine import Change, Confirmation, Signal, Verdict
from tsobs_pipelines.alerting.rule import (
    FRESH,
    AlertAsset,
    Doc,
    Example,
    Icon,
    Rule,
    Severity,
)
from tsobs_pipelines.alerting.rules.nodes import by_host
from tsobs_pipelines.alerting.rules.relay_cause import likely_cause, scenes
from tsobs_pipelines.timeseries.sampling import SILENT_AFTER
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow, NetcheckRow

_CAUSE = ": "
"""Between the region and the cause in the detail of a signal; no region's code holds it."""

_PATHS = {"relay": Verdict.BAD, "direct": Verdict.GOOD, "peer-relay": Verdict.GOOD}
"""A peer relay is one of the tailnet's own nodes, chosen by its owner: not the public DERP detour that the
rule is about. ``unknown``, ``offline`` and ``unreachable`` say nothing about the path."""


def relay_signals(rows: Sequence[ConnectionRow]) -> dict[str, list[Signal]]:
    """The path of each round in which there was one."""
    result: dict[str, list[Signal]] = {}
    for host, mine in by_host(rows).items():
        result[host] = [
            Signal(row.time, row.time, verdict, row.latency_avg, None, row.relay_node)
            for row in mine
            if (verdict := _PATHS.get(row.connection_type)) is not None
        ]
    return result


def explained_relays(
    rows: Sequence[ConnectionRow], netchecks: Sequence[NetcheckRow]
) -> dict[str, list[Signal]]:
    """The same, with the likely cause behind the region where a round was relayed."""
    result: dict[str, list[Signal]] = {}
    for host, signals in relay_signals(rows).items():
        relayed = any(signal.verdict is Verdict.BAD for signal in signals)
        seen = scenes(host, rows, netchecks) if relayed else {}
        result[host] = [
            replace(signal, detail=f"{signal.detail}{_CAUSE}{likely_cause(seen[signal.time])}")
            if signal.time in seen
            else signal
            for signal in signals
        ]
    return result


def _firing(change: Change) -> str:
    region, _, cause = change.detail.partition(_CAUSE)
    text = f"{change.subject} is reached through DERP relay {region}, not directly"
    return f"{text}. Likely cause: {cause}" if cause else text


def _resolved(change: Change) -> str:
    region = change.detail.partition(_CAUSE)[0]
    return f"{change.subject} is reached without DERP again (was relay {region})"


RELAY = Rule(
    key="relay",
    title="Relayed",
    icon=Icon.TRIANGLE,
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=2, good=2, within=SILENT_AFTER),
    evidence=RowEvidence(
        CONNECTIONS, lambda rows, _tailnet: relay_signals(rows), with_netchecks=explained_relays
    ),
    asset=AlertAsset(
        name="relay_alerts",
        sensor="relay_alert_sensor",
        description="Nodes that are reached through DERP instead of directly.",
        interval_s=30,
        reads_ahead=True,
    ),
    firing=_firing,
    resolved=_resolved,
    together=lambda _: (
        "most nodes are relayed at once: look at the firewall or NAT of the observing host first"
    ),
    fresh_for=FRESH,
    doc=Doc(
        about="node",
        fires="two rounds in a row came over DERP: direct → relay, or first seen relayed",
        is_over="two rounds in a row did not",
        example=Example(
            "git",
            detail=f"fra{_CAUSE}only git: its side, for the others are reached directly; "
            "try: look at the firewall and the NAT of git: UDP 41641",
        ),
    ),
)
