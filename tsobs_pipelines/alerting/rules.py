"""Every rule, once: what is evidence, how much of it makes a change, and how the change reads.

What belongs here: pure functions from observations to signals and from changes to one line of text. What
does not: state (``machine.py``), storage, sending. To add a rule: a function that makes signals, two that
make text, a :class:`Rule`, and a sensor in ``defs/`` that hands the observations in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tsobs_pipelines.alerting.machine import Change, Confirmation, Signal, Verdict
from tsobs_pipelines.degradation import DEGRADED_FACTOR
from tsobs_pipelines.timeseries.schema import Row

BUCKET = timedelta(minutes=5)
CALM_SHARE = 0.8
"""At or below this share of the threshold a value counts as good again (80 ms of 100)."""

SILENT_AFTER = timedelta(minutes=15)
FRESH = timedelta(minutes=30)
"""For how long what a round says holds for now."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Signals = Mapping[str, Sequence[Signal]]
"""Signals in the order of time, by subject."""


class Severity(StrEnum):
    """How a message starts."""

    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: topics ``<name>_<subject>`` (or ``<name>`` where there is one subject, the empty one).

    ``firing`` and ``resolved`` make the line of a message, as plain text without time. ``together`` heads the
    message when most subjects fire. ``align`` is the grid on which the rule's evidence is closed. Evidence
    older than ``fresh_for`` says nothing about now: what fires by it is neither told nor repeated until
    fresher evidence says the same.
    """

    name: str
    severity: Severity
    confirmation: Confirmation
    firing: Callable[[Change], str]
    resolved: Callable[[Change], str]
    together: str | None = None
    align: timedelta | None = None
    fresh_for: timedelta | None = None

    def topic(self, subject: str) -> str:
        """The topic of a subject."""
        return f"{self.name}_{subject}" if subject else self.name

    def floor(self, time: datetime) -> datetime:
        """The end of the newest evidence that is closed at ``time``."""
        return time if self.align is None else _EPOCH + (time - _EPOCH) // self.align * self.align


def _ms(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


LATENCY = Rule(
    name="latency",
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=1, good=2),
    firing=lambda c: (
        f"high latency to {c.subject}: {_ms(c.value)} in the 5-minute mean, over {_ms(c.limit)}"
        + (f", worst {_ms(c.worst)}" if (c.worst or 0) > (c.value or 0) else "")
    ),
    resolved=lambda c: (
        f"latency to {c.subject} is back to {_ms(c.value)} (limit {_ms(c.limit)}, worst was {_ms(c.worst)})"
    ),
    together="most nodes are slow at once: look at the uplink of the observing host first",
    align=BUCKET,
    fresh_for=FRESH,
)

RELAY = Rule(
    name="relay",
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=2, good=2, within=SILENT_AFTER),
    firing=lambda c: f"{c.subject} is reached through DERP relay {c.detail}, not directly",
    resolved=lambda c: f"{c.subject} is reached without DERP again (was relay {c.detail})",
    together="most nodes are relayed at once: look at the firewall or NAT of the observing host first",
    fresh_for=FRESH,
)

NODE_SILENCE = Rule(
    name="silence",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=2, good=1, bad_for=SILENT_AFTER),
    firing=lambda c: f"{c.subject} answers no ping ({c.detail})",
    resolved=lambda c: f"{c.subject} answers again",
    together="most nodes went silent at once: look at the uplink of the observing host first",
    fresh_for=FRESH,
)

COLLECTION_SILENCE = Rule(
    name="silence",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=1, good=1),
    firing=lambda c: f"no fresh round of any node for {c.value or 0:.0f} minutes: {c.detail}",
    resolved=lambda _: "rounds arrive again",
)

FAILED_RUNS = Rule(
    name="runs",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=1, good=1),
    firing=lambda c: f"runs of {c.subject} fail: {c.detail}",
    resolved=lambda c: f"runs of {c.subject} succeed again",
)

MAE = Rule(
    name="mae",
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=1, good=2),
    firing=lambda c: (
        f"forecast {c.subject} is {_times(c)} its baseline (MAE {price_text(c.value)}, "
        f"limit {price_text(c.limit)}); {c.detail}"
    ),
    resolved=lambda c: (
        f"forecast {c.subject} is good again: MAE {price_text(c.value)}, limit {price_text(c.limit)}"
    ),
)

SKILL = Rule(
    name="skill",
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=1, good=2),
    firing=lambda c: (
        f"forecast {c.subject} has lost its skill: over 7 days its error is "
        f"at least {c.value or 0:.2f} times that of repeating yesterday (limit {c.limit or 0:.2f})"
    ),
    resolved=lambda c: (
        f"forecast {c.subject} has its skill back: {c.value or 0:.2f} times the error of repeating yesterday"
    ),
)

RULES: Mapping[str, Rule] = {
    "latency": LATENCY,
    "relay": RELAY,
    "silence": NODE_SILENCE,
    "collection": COLLECTION_SILENCE,
    "runs": FAILED_RUNS,
    "mae": MAE,
    "skill": SKILL,
}
"""Every rule by the key under which its progress is kept."""


def rule_key(rule: Rule) -> str:
    """The key of a rule in :data:`RULES`."""
    return next(key for key, known in RULES.items() if known is rule)


def price_text(value: float | None) -> str:
    """A price or its error, as a message says it."""
    return "?" if value is None else f"{value:.4f} EUR/kWh"


def _times(change: Change) -> str:
    if not change.value or not change.limit:
        return "over"
    return f"{change.value / (change.limit / DEGRADED_FACTOR):.1f} times"


def _by_host(rows: Sequence[Row]) -> dict[str, list[Row]]:
    hosts: dict[str, list[Row]] = {}
    for row in rows:
        hosts.setdefault(str(row["hostname"]), []).append(row)
    return hosts


def latency_signals(rows: Sequence[Row], threshold_of: Callable[[str], float]) -> dict[str, list[Signal]]:
    """The mean of ``latency_avg`` over each 5 minutes (aligned to the epoch) in which there was a pong.

    ``rows`` are whole buckets of ``tailscale_connections`` in the order of time.
    """
    result: dict[str, list[Signal]] = {}
    for host, mine in _by_host(rows).items():
        limit = threshold_of(host)
        signals: list[Signal] = []
        begin, total, count = _EPOCH, 0.0, 0
        for row in mine:
            latency, time = row["latency_avg"], row["time"]
            if not isinstance(latency, float) or not isinstance(time, datetime):
                continue
            if time - begin >= BUCKET:
                if count:
                    signals.append(_bucket(begin, total / count, limit))
                begin, total, count = LATENCY.floor(time), 0.0, 0
            total, count = total + latency, count + 1
        if count:
            signals.append(_bucket(begin, total / count, limit))
        result[host] = signals
    return result


def _bucket(begin: datetime, mean: float, limit: float) -> Signal:
    verdict = Verdict.BETWEEN
    if mean > limit:
        verdict = Verdict.BAD
    elif mean <= CALM_SHARE * limit:
        verdict = Verdict.GOOD
    return Signal(begin + BUCKET, begin, verdict, mean, limit)


_PATHS = {"relay": Verdict.BAD, "direct": Verdict.GOOD, "peer-relay": Verdict.GOOD}
"""A peer relay is one of the tailnet's own nodes, chosen by its owner: not the public DERP detour that the
rule is about. ``unknown``, ``offline`` and ``unreachable`` say nothing about the path."""


def relay_signals(rows: Sequence[Row]) -> dict[str, list[Signal]]:
    """The path of each round in which there was one."""
    result: dict[str, list[Signal]] = {}
    for host, mine in _by_host(rows).items():
        result[host] = [
            Signal(time, time, verdict, row["latency_avg"], None, str(row["relay_node"]))  # type: ignore[arg-type]
            for row in mine
            if (verdict := _PATHS.get(str(row["connection_type"]))) is not None
            and isinstance(time := row["time"], datetime)
        ]
    return result


def silence_signals(rows: Sequence[Row]) -> dict[str, list[Signal]]:
    """Whether each round was answered; rounds that could not be taken (``unknown``) say nothing."""
    result: dict[str, list[Signal]] = {}
    for host, mine in _by_host(rows).items():
        signals = result[host] = []
        for row in mine:
            path, time = str(row["connection_type"]), row["time"]
            if path == "unknown" or not isinstance(time, datetime):
                continue
            silent = path in {"offline", "unreachable"}
            signals.append(Signal(time, time, Verdict.BAD if silent else Verdict.GOOD, None, None, path))
    return result


def freshness_signal(last_round: datetime | None, now: datetime, reason: str) -> Signal:
    """Whether the newest round with a result is fresh; ``reason`` says what is known about why not."""
    begin = last_round or now - SILENT_AFTER - timedelta(seconds=1)
    age = now - begin
    verdict = Verdict.BAD if age > SILENT_AFTER else Verdict.GOOD
    minutes = age.total_seconds() / 60
    return Signal(now, begin, verdict, minutes, SILENT_AFTER.total_seconds() / 60, reason)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended; ``reason`` is the first line of its failure, with the run's id."""

    job: str
    time: datetime
    succeeded: bool
    reason: str


def run_signals(ends: Sequence[RunEnd]) -> dict[str, list[Signal]]:
    """The ends of each job's runs, in the order of time."""
    result: dict[str, list[Signal]] = {}
    for end in sorted(ends, key=lambda end: end.time):
        verdict = Verdict.GOOD if end.succeeded else Verdict.BAD
        result.setdefault(end.job, []).append(Signal(end.time, end.time, verdict, None, None, end.reason))
    return result
