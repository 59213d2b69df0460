"""The alert state in the SQL database: the state of each topic, its changes, and their messages."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, and_, bindparam, delete, insert, select, update

from tsobs_pipelines.alerting.machine import Change, Kind, Status, TopicState, Voice
from tsobs_pipelines.alerting.messages import TELL_WITHIN, Draft, Facts, Source, plan
from tsobs_pipelines.alerting.rule import FRESH, Rule
from tsobs_pipelines.alerting.tables import (
    alert_transaction,
    changes,
    ensure_tables,
    incidents,
    messages,
    mutes,
    progress,
    topics,
)
from tsobs_pipelines.database import reading

REMIND_AFTER = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rule has come: everything from ``started_at`` to ``evaluated_until`` (data times) is decided.

    ``begun_at`` is when the watch began, by the clock.
    """

    begun_at: datetime
    started_at: datetime
    evaluated_until: datetime
    version: int


@dataclass(frozen=True, slots=True)
class Step:
    """One evaluation of a rule: the states that moved, and the changes in the order of time."""

    rule: Rule
    before: Progress | None
    started_at: datetime
    until: datetime
    states: Mapping[str, TopicState]
    changes: Sequence[Change]


class AlertStore:
    """The alert state of one scope. Instances hold no state: everything is in the database."""

    def __init__(self, engine: Engine, scope: str) -> None:
        """The alert_store in a database; its tables are made when they are first needed."""
        self.engine = engine
        self.scope = scope

    def progress(self, rule: Rule) -> Progress | None:
        """How far the rule has come; ``None`` before its first evaluation."""
        ensure_tables(self.engine)
        with reading(self.engine) as connection:
            return self._progress(connection, rule)

    def states(self, rule: Rule) -> dict[str, TopicState]:
        """The state of each topic of the rule."""
        ensure_tables(self.engine)
        with reading(self.engine) as connection:
            query = select(topics.c.topic, topics.c.state).where(of_rule(self.scope, rule))
            return {topic: TopicState.from_json(text) for topic, text in connection.execute(query)}

    def commit(self, step: Step, source: Source, now: datetime) -> list[int] | None:
        """Write a step and the messages about it; the ids of those to be sent.

        ``None``, and nothing written, when somebody else has evaluated the rule since ``step.before``.
        """
        with alert_transaction(self.engine) as connection:
            if self._progress(connection, step.rule) != step.before:
                return None
            known = self._unknown_changes(connection, step.changes)
            unannounced = self._unannounced(connection)
            self._save_progress(connection, step, now)
            begun_at = step.before.begun_at if step.before else now
            # What ended longer before the watch began is history.
            self._save_incidents(connection, step, begun_at - FRESH)
            current_from = max(now - TELL_WITHIN, begun_at - FRESH)
            self._save_states(connection, step)
            facts = self._facts(connection, step.rule, now, current_from, unannounced)
            drafts = plan(step.rule, known, facts, source)
            return [
                number
                for draft in drafts
                if (number := self._enqueue(connection, step.rule, draft, source, now)) is not None
            ]

    def remind(self, rule: Rule, source: Source, now: datetime) -> list[int]:
        """Enqueue a reminder of what fires and was last told :data:`REMIND_AFTER` ago, or never.

        "Still" has to be true: while a topic's newest evidence is not bad, its reminder waits.
        """
        if not rule.repeats:
            return []
        due = (topics.c.status == Status.FIRING) & (
            topics.c.last_told.is_(None) | (topics.c.last_told <= now - REMIND_AFTER)
        )
        ensure_tables(self.engine)
        query = select(topics.c.state).where(of_rule(self.scope, rule), due)
        with reading(self.engine) as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []
        with alert_transaction(self.engine) as connection:
            states = [TopicState.from_json(text) for text in connection.scalars(query)]
            facts = self._facts(connection, rule, now, now - TELL_WITHIN, frozenset())
            # A muted topic is reminded of when its mute ends; one that flaps, when it settles.
            found = [
                _reminder(state, now)
                for state in states
                if state.bad_now
                and state.spoken is Status.FIRING
                and state.topic not in facts.muted.keys() | facts.stale
            ]
            if not found:
                return []
            drafts = plan(rule, found, facts, source)
            numbers = [self._enqueue(connection, rule, draft, source, now) for draft in drafts]
            return [number for number in numbers if number is not None]

    def _progress(self, connection: Connection, rule: Rule) -> Progress | None:
        query = select(
            progress.c.begun_at, progress.c.started_at, progress.c.evaluated_until, progress.c.version
        ).where(progress.c.scope == self.scope, progress.c.rule == rule.key)
        row = connection.execute(query).first()
        return None if row is None else Progress(*row)

    def _unknown_changes(self, connection: Connection, found: Sequence[Change]) -> list[Change]:
        by_id = {self._change_id(change): change for change in found}
        known = (
            set(connection.scalars(select(changes.c.id).where(changes.c.id.in_(by_id)))) if by_id else set()
        )
        return [change for key, change in by_id.items() if key not in known]

    def _change_id(self, change: Change) -> str:
        return f"{self.scope}/{change.topic}/{change.at.isoformat()}/{change.kind}/{change.voice}"

    def _unannounced(self, connection: Connection) -> frozenset[str]:
        query = select(incidents.c.topic).where(
            incidents.c.scope == self.scope, incidents.c.until.is_(None), incidents.c.told.is_(False)
        )
        return frozenset(connection.scalars(query))

    def _save_progress(self, connection: Connection, step: Step, now: datetime) -> None:
        values = {"started_at": step.started_at, "evaluated_until": step.until}
        key = {"scope": self.scope, "rule": step.rule.key}
        if step.before is None:
            connection.execute(insert(progress).values(**key, **values, begun_at=now, version=1))
            return
        connection.execute(
            update(progress)
            .where(progress.c.scope == key["scope"], progress.c.rule == key["rule"])
            .values(**values, version=step.before.version + 1)
        )

    def _save_states(self, connection: Connection, step: Step) -> None:
        if not step.states:
            return
        last_told = dict(
            connection.execute(
                select(topics.c.topic, topics.c.last_told).where(of_rule(self.scope, step.rule))
            ).all()
        )
        connection.execute(
            delete(topics).where(of_rule(self.scope, step.rule), topics.c.topic.in_(list(step.states)))
        )
        rows = [
            {
                "scope": self.scope,
                "topic": topic,
                "rule": step.rule.key,
                "subject": state.subject,
                "status": state.status.value,
                "state": state.to_json(),
                "last_told": last_told.get(topic),
            }
            for topic, state in step.states.items()
        ]
        connection.execute(insert(topics), rows)

    def _save_incidents(self, connection: Connection, step: Step, history_before: datetime) -> None:
        for change in step.changes:
            if change.voice is Voice.LATE or change.kind is Kind.STILL:
                continue
            mine = (incidents.c.scope == self.scope) & (incidents.c.topic == change.topic)
            if change.kind is Kind.FIRING:
                row = incident_row(self.scope, step.rule, change) | {"origin": "live", "told": False}
                # A historical one that was found for the same time is the same incident.
                connection.execute(delete(incidents).where(mine, incidents.c.since == change.since))
                connection.execute(insert(incidents).values(row))
                continue
            history = change.at < history_before
            connection.execute(
                update(incidents)
                .where(mine, incidents.c.until.is_(None), incidents.c.origin == "live")
                .values(
                    until=change.until, worst=change.worst, **({"origin": "historical"} if history else {})
                )
            )
        for topic, state in step.states.items():
            if state.status is Status.FIRING:
                connection.execute(
                    update(incidents)
                    .where(
                        incidents.c.scope == self.scope,
                        incidents.c.topic == topic,
                        incidents.c.until.is_(None),
                        incidents.c.origin == "live",
                    )
                    .values(value=state.value, worst=state.worst, detail=state.detail)
                )

    def _facts(
        self,
        connection: Connection,
        rule: Rule,
        now: datetime,
        current_from: datetime,
        unannounced: frozenset[str],
    ) -> Facts:
        patterns = connection.execute(select(mutes.c.topic, mutes.c.until).where(mutes.c.until > now)).all()
        counted = connection.execute(
            select(topics.c.topic, topics.c.status, topics.c.state).where(of_rule(self.scope, rule))
        ).all()
        muted = {
            topic: until
            for topic, _status, _state in counted
            for pattern, until in patterns
            if topic == pattern or fnmatch.fnmatchcase(topic, pattern)
        }
        states = [TopicState.from_json(text) for _topic, status, text in counted if status == Status.FIRING]
        stale = frozenset(state.topic for state in states if _is_stale(rule, state, now))
        return Facts(now, muted, unannounced, stale, len(states), len(counted), current_from)

    def _enqueue(
        self, connection: Connection, rule: Rule, draft: Draft, source: Source, now: datetime
    ) -> int | None:
        """Write a message and its changes; its number when it is to be sent."""
        row = {
            "scope": self.scope,
            "rule": rule.key,
            "severity": draft.severity.value,
            "html": draft.html,
            "created_at": now,
            "fate": "suppressed" if draft.kept_back else "pending",
            "reason": draft.kept_back,
            "source_run": source.run_id,
            "source_partition": source.partition,
            "settled_at": now if draft.kept_back else None,
        }
        number = connection.execute(insert(messages).values(row)).inserted_primary_key
        assert number is not None  # noqa: S101 - the table has a primary key
        connection.execute(insert(changes), [self._change_row(change, number[0]) for change in draft.changes])
        if draft.kept_back:
            return None
        self._mark_announced(connection, draft.changes, now)
        return int(number[0])

    def _change_row(self, change: Change, message: int) -> dict[str, object]:
        return {
            "id": self._change_id(change),
            "scope": self.scope,
            "topic": change.topic,
            "kind": change.kind.value,
            "voice": change.voice.value,
            "at": change.at,
            "since": change.since,
            "until": change.until,
            "value": change.value,
            "threshold": change.limit,
            "message_id": message,
        }

    def _mark_announced(self, connection: Connection, told: Sequence[Change], now: datetime) -> None:
        names = [change.topic for change in told]
        connection.execute(
            update(topics)
            .where(topics.c.scope == self.scope, topics.c.topic.in_(names))
            .values(last_told=now)
        )
        mine = (incidents.c.topic == bindparam("announced_topic")) & (
            incidents.c.since == bindparam("announced_since")
        )
        connection.execute(
            update(incidents).where(incidents.c.scope == self.scope, mine).values(told=True),
            [{"announced_topic": change.topic, "announced_since": change.since} for change in told],
        )


def of_rule(scope: str, rule: Rule) -> ColumnElement[bool]:
    """The topics of a rule."""
    return and_(topics.c.scope == scope, topics.c.rule == rule.key)


def incident_row(scope: str, rule: Rule, change: Change) -> dict[str, object]:
    """The columns of the incident that a change begins or ends, but for origin and told."""
    return {
        "scope": scope,
        "topic": change.topic,
        "rule": rule.key,
        "subject": change.subject,
        "since": change.since,
        "until": change.until,
        "value": change.value,
        "worst": change.worst,
        "threshold": change.limit,
        "detail": change.detail,
    }


def _is_stale(rule: Rule, state: TopicState, now: datetime) -> bool:
    return rule.fresh_for is not None and state.last is not None and now - state.last > rule.fresh_for


def _reminder(state: TopicState, now: datetime) -> Change:
    assert state.since is not None  # noqa: S101 - it fires
    return Change(
        topic=state.topic,
        subject=state.subject,
        kind=Kind.STILL,
        voice=Voice.NOW,
        at=now,
        since=state.since,
        value=state.value,
        worst=state.worst,
        limit=state.limit,
        detail=state.detail,
    )
