"""Incidents of the past: recomputed from the data of whole days, never sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from tsobs_pipelines.alerting.evaluation import SignalsOf, chunks
from tsobs_pipelines.alerting.evidence import Signals
from tsobs_pipelines.alerting.machine import Change, Kind, Status, TopicState, Voice, advance
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.store import AlertStore, Progress, incident_row
from tsobs_pipelines.alerting.tables import alert_transaction, ensure_tables, incidents, replays
from tsobs_pipelines.database import reading

WARM_UP = timedelta(minutes=30)
"""Data before a day that are read as well: evidence in a row may have begun before midnight."""

SEAM = timedelta(minutes=10)
"""A live incident this soon after the watch began is the rest of the one that went on before."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did."""

    days: tuple[date, ...]
    incidents: int


def request_replays(alert_store: AlertStore, rule: Rule, days: Mapping[date, int]) -> None:
    """Request replays of days; the materialisation's number tells new requests from completed ones."""
    if not days:
        return
    key = (replays.c.scope == alert_store.scope) & (replays.c.rule == rule.key)
    with alert_transaction(alert_store.engine) as connection:
        known = dict(connection.execute(select(replays.c.day, replays.c.source_id).where(key)).all())
        for day, source in days.items():
            name = day.isoformat()
            if name not in known:
                values = {"scope": alert_store.scope, "rule": rule.key, "day": name}
                connection.execute(insert(replays).values(**values, source_id=source, done_id=-1))
            elif known[name] < source:
                connection.execute(update(replays).where(key, replays.c.day == name).values(source_id=source))


def pending_replays(alert_store: AlertStore, rule: Rule) -> dict[date, int]:
    """The days that are still to be replayed, with the number of what filled them."""
    ensure_tables(alert_store.engine)
    query = (
        select(replays.c.day, replays.c.source_id)
        .where(replays.c.scope == alert_store.scope, replays.c.rule == rule.key)
        .where(replays.c.done_id < replays.c.source_id)
        .order_by(replays.c.day)
    )
    with reading(alert_store.engine) as connection:
        return {date.fromisoformat(day): source for day, source in connection.execute(query)}


def replay_pending(alert_store: AlertStore, rule: Rule, signals_of: SignalsOf) -> Replayed:
    """Replay every requested day, consecutive days at once."""
    progress, pending = alert_store.progress(rule), pending_replays(alert_store, rule)
    if progress is None:
        return Replayed((), 0)
    found = 0
    for days in _runs(pending):
        found += _replay(alert_store, rule, signals_of, progress, {day: pending[day] for day in days})
    return Replayed(tuple(pending), found)


def _runs(days: Iterable[date]) -> list[list[date]]:
    runs: list[list[date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _replay(
    alert_store: AlertStore, rule: Rule, signals_of: SignalsOf, progress: Progress, days: Mapping[date, int]
) -> int:
    limit = progress.evaluated_until
    start = _midnight(min(days)) - max(WARM_UP, rule.fresh_for or WARM_UP)
    end = min(_midnight(max(days)) + timedelta(days=1), limit)
    states = _carried(alert_store, rule, start)
    lower = {topic: state.since or start for topic, state in states.items()}
    changes: list[Change] = []
    for window in chunks(start, end):
        changes += _step(rule, states, signals_of(window))
    upper: dict[str, datetime] = {}
    # What still fires goes on into the days that follow, until it ends: an incident is never cut.
    for window in chunks(max(start, end), limit):
        firing = {topic: state for topic, state in states.items() if state.status is Status.FIRING}
        if not firing:
            break
        after = _step(rule, firing, signals_of(window), only_known=True)
        first_end: dict[str, Change] = {}
        for change in after:
            if change.kind is Kind.RESOLVED:
                first_end.setdefault(change.topic, change)
        for topic, state in firing.items():
            states[topic] = state
            upper[topic] = window.end
        for topic, change in first_end.items():
            changes.append(change)
            states[topic] = TopicState(topic, change.subject)
            upper[topic] = change.at
    found = _incidents(states, changes)
    with alert_transaction(alert_store.engine) as connection:
        _replace(connection, alert_store, rule, found, (start, end, lower, upper), progress)
        for day, source in days.items():
            connection.execute(
                update(replays)
                .where(replays.c.scope == alert_store.scope, replays.c.rule == rule.key)
                .where(replays.c.day == day.isoformat())
                .values(done_id=source)
            )
    return len(found)


def _carried(alert_store: AlertStore, rule: Rule, start: datetime) -> dict[str, TopicState]:
    """The topics that fire at ``start`` by what the history says."""
    query = select(incidents).where(
        incidents.c.scope == alert_store.scope,
        incidents.c.rule == rule.key,
        incidents.c.origin == "historical",
        incidents.c.since < start,
        incidents.c.until.is_(None) | (incidents.c.until > start),
    )
    with reading(alert_store.engine) as connection:
        return {
            row.topic: TopicState(
                row.topic,
                row.subject,
                Status.FIRING,
                row.since,
                worst=row.worst,
                value=row.value,
                limit=row.threshold,
                detail=row.detail,
            )
            for row in connection.execute(query)
        }


def _step(
    rule: Rule, states: dict[str, TopicState], signals: Signals, *, only_known: bool = False
) -> list[Change]:
    changes: list[Change] = []
    for subject, mine in signals.items():
        topic = rule.topic(subject)
        if only_known and topic not in states:
            continue
        state = states.get(topic) or TopicState(topic, subject)
        states[topic], found = advance(state, mine, rule.confirmation)
        changes += [change for change in found if change.voice is not Voice.LATE]
    return changes


def _incidents(states: Mapping[str, TopicState], changes: Sequence[Change]) -> list[Change]:
    """Each incident as the change that ended it, or, while it goes on, as it stands."""
    ended = [change for change in changes if change.kind is Kind.RESOLVED]
    going_on = [
        Change(
            state.topic,
            state.subject,
            Kind.FIRING,
            Voice.HELD,
            state.last or state.since,
            state.since,
            None,
            state.value,
            state.worst,
            state.limit,
            state.detail,
        )
        for state in states.values()
        if state.status is Status.FIRING and state.since is not None
    ]
    return ended + going_on


def _replace(
    connection: Connection,
    alert_store: AlertStore,
    rule: Rule,
    found: Sequence[Change],
    span: tuple[datetime, datetime, Mapping[str, datetime], Mapping[str, datetime]],
    progress: Progress,
) -> None:
    start, end, lower, upper = span
    mine = (incidents.c.scope == alert_store.scope) & (incidents.c.rule == rule.key)
    historical = mine & (incidents.c.origin == "historical")
    connection.execute(
        delete(incidents).where(historical, incidents.c.since >= start, incidents.c.since < end)
    )
    for topic in lower.keys() | upper.keys():
        connection.execute(
            delete(incidents).where(
                historical,
                incidents.c.topic == topic,
                incidents.c.since >= lower.get(topic, start),
                incidents.c.since < upper.get(topic, end),
            )
        )
    live = connection.execute(select(incidents).where(mine, incidents.c.origin == "live")).all()
    for incident in found:
        over = [
            row
            for row in live
            if row.topic == incident.topic
            and (row.until is None or row.until >= incident.since)
            and (incident.until is None or row.since <= incident.until + SEAM)
        ]
        if not over:
            row = incident_row(alert_store.scope, rule, incident) | {"origin": "historical", "told": False}
            connection.execute(insert(incidents).values(row))
            continue
        first = min(over, key=lambda row: row.since)
        if first.since <= progress.started_at + SEAM and incident.since < first.since:
            connection.execute(
                update(incidents).where(incidents.c.id == first.id).values(since=incident.since)
            )
