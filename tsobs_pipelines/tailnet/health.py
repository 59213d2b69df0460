"""Verdicts about the present: is a node slow or relayed, is the journal fresh, are rounds missing.

What belongs here: pure judgements over rows of ``CONNECTIONS``, for asset checks and whoever shows a state.
What does not: alerts, which have a memory (``alerting/``).

They always speak of now: a check that runs beside a backfill of the past judges the newest rows as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tsobs_pipelines.timeseries.schema import ConnectionRow

LATENCY_SPAN = timedelta(minutes=5)
"""The span whose mean latency is judged."""

STALE_AFTER = timedelta(minutes=15)
"""A journal without a round for so long is silent."""

PATH_ROUNDS = 2
"""How many rounds in a row show a path for sure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement: whether all is well, one line that says so, and a figure or text for each node."""

    passed: bool
    summary: str
    details: Mapping[str, float] | Mapping[str, str] | Mapping[str, float | int | str] = field(
        default_factory=dict
    )


def judge_latency(
    rows: Iterable[ConnectionRow], threshold_of: Callable[[str], float], now: datetime
) -> Verdict:
    """Whether each node's mean of ``latency_avg`` (ms) over the last five minutes is within its threshold."""
    means: dict[str, float] = {}
    for hostname, mine in _by_node(rows).items():
        values = [row.latency_avg for row in mine if row.time >= now - LATENCY_SPAN]
        numbers = [value for value in values if value is not None]
        if numbers:
            means[hostname] = round(sum(numbers) / len(numbers), 3)
    slow = {name: mean for name, mean in means.items() if mean > threshold_of(name)}
    if slow:
        named = ", ".join(f"{name} {mean:g} ms (limit {threshold_of(name):g})" for name, mean in slow.items())
        return Verdict(passed=False, summary=f"slow: {named}", details=means)
    summary = "every node that answers is within its limit" if means else "no node answered in five minutes"
    return Verdict(passed=True, summary=summary, details=means)


def judge_path(rows: Iterable[ConnectionRow]) -> Verdict:
    """Whether each node is reached directly, by its last two rounds that show a path.

    ``unknown``, ``offline`` and ``unreachable`` show none: those nodes are named, and fail nothing.
    """
    paths: dict[str, str] = {}
    relayed: list[str] = []
    for hostname, mine in _by_node(rows).items():
        last = mine[-1]
        paths[hostname] = _path(last)
        shown = [row for row in mine if row.connection_type in {"direct", "relay", "peer-relay"}]
        recent = shown[-PATH_ROUNDS:]
        if len(recent) == PATH_ROUNDS and all(row.connection_type == "relay" for row in recent):
            relayed.append(f"{hostname} through {recent[-1].relay_node}")
    if relayed:
        return Verdict(passed=False, summary=f"relayed: {', '.join(relayed)}", details=paths)
    return Verdict(passed=True, summary="no node is relayed", details=paths)


def judge_freshness(newest: datetime | None, now: datetime) -> Verdict:
    """Whether the newest round is younger than 15 minutes."""
    if newest is None:
        return Verdict(passed=False, summary="no round was ever collected")
    age_s = round((now - newest).total_seconds())
    details: dict[str, float | int | str] = {"age_s": age_s, "newest_round": newest.isoformat()}
    if now - newest > STALE_AFTER:
        return Verdict(passed=False, summary=f"no round for {age_s // 60} minutes", details=details)
    return Verdict(passed=True, summary=f"the newest round is {age_s} s old", details=details)


def judge_rounds(rounds: int, start: datetime, now: datetime, interval: timedelta) -> Verdict:
    """Whether at least 95 % of the rounds that were due between ``start`` and ``now`` were taken."""
    due = int((now - start) / interval)
    details = {"rounds": rounds, "due": due}
    if due and rounds < 0.95 * due:
        return Verdict(passed=False, summary=f"{due - rounds} of {due} rounds are missing", details=details)
    return Verdict(passed=True, summary=f"{rounds} rounds, {due} were due", details=details)


def _by_node(rows: Iterable[ConnectionRow]) -> dict[str, Sequence[ConnectionRow]]:
    found: dict[str, list[ConnectionRow]] = {}
    for row in sorted(rows, key=lambda row: row.time):
        found.setdefault(row.hostname, []).append(row)
    return dict(sorted(found.items()))


def _path(row: ConnectionRow) -> str:
    kind = row.connection_type
    return f"{kind} ({row.relay_node})" if row.relay_node != "none" else kind
