"""The live evaluation of a rule: new evidence is evaluated once, in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from tsobs_pipelines.alerting.evidence import LatestEvidence, RowEvidence, Signals
from tsobs_pipelines.alerting.machine import Change, Signal, TopicState, Verdict, advance
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.store import AlertStore, Progress, Step
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.sampling import USUAL, Sampling
from tsobs_pipelines.timeseries.schema import NETCHECK, Row
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

_A_MINUTE = Sampling()
_INSTANT = timedelta(microseconds=1)
_NETCHECKS_BEFORE = timedelta(hours=1)
_CHUNK = timedelta(days=1)
_RACES = 3


@dataclass(frozen=True, slots=True)
class Observed:
    """Signals of all that lies between ``start`` and ``until``, both in data time."""

    start: datetime
    until: datetime
    signals: Signals


@dataclass(frozen=True, slots=True)
class RuleEvaluation:
    """The result of an evaluation: messages to be sent, and every change, sent or not."""

    messages: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()


Observe = Callable[[Progress | None], Observed]
SignalsOf = Callable[[Window], Signals]
"""The signals of a window of the past."""


def evaluate(
    alert_store: AlertStore, rule: Rule, observe: Observe, source: Source, now: datetime
) -> RuleEvaluation:
    """Evaluate what ``observe`` finds after the rule's progress, and enqueue the messages.

    Of two evaluations at once one wins and the other starts again from there; what loses three times leaves
    the rest to the winners.
    """
    for _ in range(_RACES):
        before = alert_store.progress(rule)
        observed = observe(before)
        if before is not None and observed.until <= before.evaluated_until:
            return RuleEvaluation()
        states, changes = step_topics(rule, alert_store.states(rule), observed.signals)
        started = before.started_at if before else observed.start
        step = Step(rule, before, started, observed.until, states, changes)
        messages = alert_store.commit(step, source, now)
        if messages is not None:
            return RuleEvaluation(tuple(messages), tuple(changes))
    return RuleEvaluation()


def step_topics(
    rule: Rule, states: dict[str, TopicState], signals: Signals
) -> tuple[dict[str, TopicState], list[Change]]:
    """The states that moved, and all changes in the order of time."""
    moved: dict[str, TopicState] = {}
    changes: list[Change] = []
    for subject, mine in signals.items():
        if not mine:
            continue
        topic = rule.topic(subject)
        state = states.get(topic) or TopicState(topic, subject)
        moved[topic], found = advance(state, mine, rule.confirmation)
        changes.extend(found)
    return moved, sorted(changes, key=lambda change: (change.at, change.topic))


def observe_collected(
    store: TimeSeriesStore, tailnet: Tailnet, rule: Rule, complete_to: datetime, sampling: Sampling
) -> Observe:
    """How a rule about a tailnet's nodes reads what was collected; all rounds up to ``complete_to`` are."""
    if isinstance(rule.evidence, LatestEvidence):
        return _observe_latest(store, tailnet, rule.evidence, complete_to)
    return observe_rows(store, tailnet, rule, complete_to, sampling)


def _observe_latest(
    store: TimeSeriesStore, tailnet: Tailnet, evidence: LatestEvidence[Any], complete_to: datetime
) -> Observe:
    def observe(before: Progress | None) -> Observed:
        start, until = before.evaluated_until if before else complete_to, complete_to + _INSTANT
        day = Window.of_day(complete_to.astimezone(UTC).date())
        rows = store.read(evidence.measurement, day, {"tailnet": tailnet.name})
        return Observed(start, until, evidence.signals(rows, tailnet, complete_to))

    return observe


def observe_rows(
    store: TimeSeriesStore,
    tailnet: Tailnet,
    rule: Rule,
    complete_to: datetime,
    sampling: Sampling = _A_MINUTE,
) -> Observe:
    """How a rule over rows of a tailnet reads on; all rounds up to ``complete_to`` are written.

    A rule's first evaluation starts with the UTC day of ``complete_to``.
    """
    evidence, where = _row_evidence(rule), {"tailnet": tailnet.name}

    def observe(before: Progress | None) -> Observed:
        midnight = datetime.combine(complete_to.astimezone(UTC).date(), time(), UTC)
        start = before.evaluated_until if before else midnight
        signals: dict[str, list[Signal]] = {}
        until = max(start, complete_to + _INSTANT)
        for window in chunks(start, until):
            rows = store.read(evidence.measurement, window, where)
            if rule.align is not None and window.end == until:
                until = max(start, rule.floor(complete_to + period_of(rows, sampling)))
                rows = [row for row in rows if row.time < until]
            for subject, found in _signals(evidence, store, tailnet, window, rows).items():
                signals.setdefault(subject, []).extend(found)
        return Observed(start, until, signals)

    return observe


def past_rows(store: Callable[[], TimeSeriesStore], tailnet: Tailnet, rule: Rule) -> SignalsOf:
    """How the past of a rule over rows of a tailnet is read; the store is opened when it is needed."""
    evidence, where = _row_evidence(rule), {"tailnet": tailnet.name}

    def signals(window: Window) -> Signals:
        rows = store().read(evidence.measurement, window, where)
        return _signals(evidence, store(), tailnet, window, rows)

    return signals


def _signals(
    evidence: RowEvidence[Any], store: TimeSeriesStore, tailnet: Tailnet, window: Window, rows: Sequence[Row]
) -> Signals:
    """The signals of rows, explained by the netchecks around them where a rule can do that."""
    found = evidence.signals(rows, tailnet)
    bad = any(signal.verdict is Verdict.BAD for mine in found.values() for signal in mine)
    if evidence.with_netchecks is None or not bad:
        return found
    span = Window(window.start - _NETCHECKS_BEFORE, window.end)
    return evidence.with_netchecks(rows, store.read(NETCHECK, span, {"tailnet": tailnet.name}))


def _row_evidence(rule: Rule) -> RowEvidence[Any]:
    if not isinstance(rule.evidence, RowEvidence):
        msg = f"alert rule {rule.key!r} is not judged by rows"
        raise TypeError(msg)
    return rule.evidence


def observe_instant(subject: str, signal: Signal) -> Observe:
    """How a rule about the present gets its one signal."""

    def observe(before: Progress | None) -> Observed:
        return Observed(before.evaluated_until if before else signal.time, signal.time, {subject: [signal]})

    return observe


def chunks(start: datetime, end: datetime) -> list[Window]:
    """The span in windows that end at midnight at the latest: a bucket is never cut, memory is bounded."""
    windows: list[Window] = []
    while start < end:
        midnight = datetime.combine(start.astimezone(UTC).date(), time(), UTC) + _CHUNK
        windows.append(Window(start, min(midnight, end)))
        start = windows[-1].end
    return windows


def period_of(rows: Sequence[Row], sampling: Sampling) -> timedelta:
    """For how long after the newest round there is certainly none: the interval, if the rounds agree."""
    times = sorted({row.time for row in rows[-200:]})[-6:]
    gaps = [after - before for before, after in pairwise(times)]
    if not gaps and sampling.interval <= USUAL:
        return _INSTANT
    return min([sampling.interval, *gaps])
