"""Current health: slow, relayed or unseen nodes, an outdated journal, missing rounds.

They are pure judgements over rows of ``CONNECTIONS``, and always speak of now: a check that runs beside a
backfill of the past judges the newest rows as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tsobs_pipelines.timeseries.evidence import ENOUGH_ROUNDS, clause_of, taken, without_verdict
from tsobs_pipelines.timeseries.sampling import SILENT_AFTER
from tsobs_pipelines.timeseries.schema import ConnectionRow

LATENCY_SPAN = timedelta(minutes=5)
"""The span whose mean latency is judged."""

PATH_ROUNDS = 2
"""How many rounds in a row show a path for sure."""

_NO_PATH = frozenset({"unknown", "offline", "unreachable"})


@dataclass(frozen=True, slots=True)
class HealthVerdict:
    """A verdict: whether everything is healthy, one line about it, and a figure or text for each node."""

    passed: bool
    summary: str
    details: Mapping[str, float] | Mapping[str, str] | Mapping[str, float | int | str] = field(
        default_factory=dict
    )


def judge_latency(
    rows: Iterable[ConnectionRow],
    threshold_of: Callable[[str], float],
    now: datetime,
    span: timedelta = LATENCY_SPAN,
) -> HealthVerdict:
    """Whether each node's mean of ``latency_avg`` (ms) over the last ``span`` is within its threshold."""
    means: dict[str, float] = {}
    for hostname, mine in _by_node(rows).items():
        values = [row.latency_avg for row in mine if row.time >= now - span]
        numbers = [value for value in values if value is not None]
        if numbers:
            means[hostname] = round(sum(numbers) / len(numbers), 3)
    slow = {name: mean for name, mean in means.items() if mean > threshold_of(name)}
    if slow:
        named = ", ".join(f"{name} {mean:g} ms (limit {threshold_of(name):g})" for name, mean in slow.items())
        return HealthVerdict(passed=False, summary=f"slow: {named}", details=means)
    # With rounds further apart than the span, the mean is that of the newest one.
    summary = "every node that answers is within its limit" if means else "no node answered lately"
    return HealthVerdict(passed=True, summary=summary, details=means)


def judge_path(rows: Iterable[ConnectionRow]) -> HealthVerdict:
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
        return HealthVerdict(passed=False, summary=f"relayed: {', '.join(relayed)}", details=paths)
    unseen = [name for name, path in paths.items() if path in _NO_PATH]
    summary = f"no node is relayed; no path of {', '.join(unseen)}" if unseen else "no node is relayed"
    return HealthVerdict(passed=True, summary=summary, details=paths)


def judge_evidence(rows: Iterable[ConnectionRow]) -> HealthVerdict:
    """Whether each node's last two rounds that were taken say if it can be reached.

    They do not where the node is not in the tailnet, its name means several nodes, the sampler was not told
    to sample it, or it could not be probed.
    """
    recent: list[ConnectionRow] = []
    details: dict[str, str] = {}
    for hostname, mine in _by_node(rows).items():
        said = [row for row in mine if taken(row)][-ENOUGH_ROUNDS:]
        recent += said
        details[hostname] = (clause_of(said[-1]) or _path(said[-1])) if said else "no round was taken"
    unseen = without_verdict(recent)
    if unseen:
        return HealthVerdict(passed=False, summary="; ".join(unseen.values()), details=details)
    return HealthVerdict(
        passed=True, summary="every round shows whether its node can be reached", details=details
    )


def judge_freshness(
    newest: datetime | None, now: datetime, stale_after: timedelta = SILENT_AFTER, reason: str = ""
) -> HealthVerdict:
    """Whether the newest round that was taken is young enough; ``reason`` is why later ones were not."""
    because = f": {reason}" if reason else ""
    if newest is None:
        return HealthVerdict(passed=False, summary=f"no round was ever taken{because}")
    age_s = round((now - newest).total_seconds())
    details: dict[str, float | int | str] = {"age_s": age_s, "newest_round": newest.isoformat()}
    if now - newest > stale_after:
        return HealthVerdict(
            passed=False, summary=f"no round for {age_s // 60} minutes{because}", details=details
        )
    return HealthVerdict(passed=True, summary=f"the newest round is {age_s} s old", details=details)


def judge_rounds(rounds: int, start: datetime, now: datetime, interval: timedelta) -> HealthVerdict:
    """Whether at least 95 % of the rounds that were due between ``start`` and ``now`` were taken.

    ``rounds`` counts those that were: a line that says why a round could not be taken is a missing round.
    """
    due = int((now - start) / interval)
    details = {"rounds": rounds, "due": due}
    if due and rounds < 0.95 * due:
        return HealthVerdict(
            passed=False, summary=f"{due - rounds} of {due} rounds are missing", details=details
        )
    return HealthVerdict(passed=True, summary=f"{rounds} rounds, {due} were due", details=details)


def _by_node(rows: Iterable[ConnectionRow]) -> dict[str, Sequence[ConnectionRow]]:
    found: dict[str, list[ConnectionRow]] = {}
    for row in sorted(rows, key=lambda row: row.time):
        found.setdefault(row.hostname, []).append(row)
    return dict(sorted(found.items()))


def _path(row: ConnectionRow) -> str:
    kind = row.connection_type
    return f"{kind} ({row.relay_node})" if row.relay_node != "none" else kind
