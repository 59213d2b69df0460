"""Firing alerts and past incidents, for the API, the page and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Engine, Row, select

from tsobs_pipelines.alerting.machine import Kind
from tsobs_pipelines.alerting.rule import Icon, Severity, Unit
from tsobs_pipelines.alerting.rules import RULES
from tsobs_pipelines.alerting.tables import changes, ensure_tables, incidents, messages, mutes
from tsobs_pipelines.alerting.text import without_links
from tsobs_pipelines.database import reading

Origin = Literal["live", "historical"]


@dataclass(frozen=True, slots=True)
class FirstMessage:
    """The message about an incident's beginning, and the run that brought its data.

    ``message`` is its number in the outbox: 0, and the texts empty, where there was none.
    """

    message: int = 0
    fate: str = ""
    reason: str = ""
    text: str = ""
    at: datetime | None = None
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident; ``until`` is ``None`` while it goes on, or where a historical one's end is not known.

    ``scope`` is the tailnet or price source (``demo`` for simulated data), ``value`` the newest while it
    fired, ``worst`` the highest, both in ``unit``. ``title`` and ``icon`` are how the rule is shown.
    """

    scope: str
    topic: str
    rule: str
    subject: str
    severity: str
    since: datetime
    until: datetime | None
    origin: Origin
    value: float | None
    worst: float | None
    threshold: float | None
    detail: str
    first_message: FirstMessage
    title: str
    unit: Unit
    icon: Icon


def firing(engine: Engine, scope: str | None = None) -> list[Incident]:
    """What fires now, the longest first."""
    ensure_tables(engine)
    query = select(incidents).where(incidents.c.until.is_(None), incidents.c.origin == "live")
    if scope is not None:
        query = query.where(incidents.c.scope == scope)
    return _read(engine, query.order_by(incidents.c.since))


def recent(engine: Engine, since: datetime, limit: int = 100, scope: str | None = None) -> list[Incident]:
    """The incidents that were going on at ``since`` or began later, historical ones too, newest first."""
    ensure_tables(engine)
    ended_before = incidents.c.until.is_not(None) & (incidents.c.until < since)
    without_end = (
        incidents.c.until.is_(None) & (incidents.c.origin == "historical") & (incidents.c.since < since)
    )
    query = select(incidents).where(~ended_before, ~without_end)
    if scope is not None:
        query = query.where(incidents.c.scope == scope)
    return _read(engine, query.order_by(incidents.c.since.desc(), incidents.c.topic).limit(limit))


def muted(engine: Engine, now: datetime) -> Mapping[str, datetime]:
    """The topics (or patterns) that are muted, and until when."""
    ensure_tables(engine)
    with reading(engine) as connection:
        found = connection.execute(select(mutes.c.topic, mutes.c.until).where(mutes.c.until > now))
        return {topic: until for topic, until in found}  # noqa: C416 - dict() loses the types


def _read(engine: Engine, query: object) -> list[Incident]:
    with reading(engine) as connection:
        rows = connection.execute(query).all()  # type: ignore[call-overload]
        announced = connection.execute(
            select(
                changes.c.scope,
                changes.c.topic,
                changes.c.since,
                messages.c.id,
                messages.c.fate,
                messages.c.reason,
                messages.c.html,
                messages.c.created_at,
                messages.c.source_run,
            )
            .join(messages, messages.c.id == changes.c.message_id)
            .where(changes.c.kind == Kind.FIRING, changes.c.since.in_({row.since for row in rows}))
            .order_by(messages.c.id)
        ).all()
    messages_of = {
        (one.scope, one.topic, one.since): FirstMessage(
            one.id, one.fate, one.reason, without_links(one.html), one.created_at, one.source_run
        )
        for one in announced
    }
    return [
        _incident(row, messages_of.get((row.scope, row.topic, row.since), FirstMessage())) for row in rows
    ]


def _incident(row: Row[tuple[object, ...]], first_message: FirstMessage) -> Incident:
    # An incident may be older than the removal of its rule: it is shown as what is kept of it.
    rule = RULES.get(row.rule)
    severity = rule.severity if rule else Severity.WARNING
    return Incident(
        row.scope,
        row.topic,
        row.rule,
        row.subject,
        severity.value,
        row.since,
        row.until,
        row.origin,
        row.value,
        row.worst,
        row.threshold,
        row.detail,
        first_message,
        rule.title if rule else row.rule,
        rule.unit if rule else Unit.NONE,
        rule.icon if rule else Icon.CIRCLE,
    )
