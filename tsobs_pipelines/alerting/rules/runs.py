"""Runs that failed for good."""

from __future__ import annotations

from collections.abc import Sequence

from tsobs_pipelines.alerting.evidence import RunEnd, RunEvidence
from tsobs_pipelines.alerting.machine import Confirmation, Signal, Verdict
from tsobs_pipelines.alerting.rule import Doc, Example, Rule, Severity


def run_signals(ends: Sequence[RunEnd]) -> dict[str, list[Signal]]:
    """The ends of each job's runs, in the order of time."""
    result: dict[str, list[Signal]] = {}
    for end in sorted(ends, key=lambda end: end.time):
        verdict = Verdict.GOOD if end.succeeded else Verdict.BAD
        result.setdefault(end.job, []).append(Signal(end.time, end.time, verdict, None, None, end.reason))
    return result


FAILED_RUNS = Rule(
    key="runs",
    title="Failed runs",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=1, good=1),
    evidence=RunEvidence(run_signals),
    firing=lambda c: f"runs of {c.subject} fail: {c.detail}",
    resolved=lambda c: f"runs of {c.subject} succeed again",
    doc=Doc(
        about="job",
        fires="a run failed for good; runs that Dagster retries are left to it",
        is_over="a run of the job succeeds",
        example=Example("collect_connections", detail="run 4f2a9c01: no answer from the sidecar"),
    ),
)
