"""Dagster's records of itself, read without Dagster: heartbeats, ticks and ended runs.

The API reads the tables directly because the alternatives are worse. ``import dagster`` adds 30 MB to a
long-running process, and a sensor that copies the figures for the API would report nothing when the daemon
fails. The tables are few, and their names have not changed for years; the tests fill them with the installed
Dagster, so that they detect an upgrade which changes them.

Times come from the epoch seconds in Dagster's own texts: its timestamp columns hold, in Postgres, the local
time of the session that wrote. They serve for comparisons only, which Postgres makes by the same rule.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, DateTime, Engine, Float, String, column, func, select, table

from tsobs_pipelines.database import DatabaseError, engine_for, existing_sqlite, reading
from tsobs_pipelines.settings import Settings

STATUSES = ("STARTED", "SKIPPED", "SUCCESS", "FAILURE")
"""What a tick can be."""

_ENDED = ("SUCCESS", "FAILURE", "CANCELED")

_instigators = table("instigators", column("selector_id", String))
_ticks = table(
    "job_ticks",
    column("id"),
    column("selector_id", String),
    column("status", String),
    column("type", String),
    column("timestamp", DateTime(timezone=True)),
    column("tick_body", String),
)
_heartbeats = table("daemon_heartbeats", column("body", String))
_runs = table(
    "runs",
    column("pipeline_name", String),
    column("status", String),
    column("update_timestamp", DateTime(timezone=True)),
    column("start_time", Float),
    column("end_time", Float),
)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The newest sign of life of one of the daemon's loops; ``process`` tells one daemon from the next."""

    daemon: str
    process: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Tick:
    """The newest tick of a schedule or sensor; of a schedule ``at`` is the time that it was due."""

    name: str
    kind: str
    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TickCount:
    """How many ticks of a schedule or sensor have this status."""

    name: str
    kind: str
    status: str
    ticks: int


@dataclass(frozen=True, slots=True)
class EndedRuns:
    """The runs of one job that ended with this status; durations in s, ``None`` where none had started."""

    job: str
    status: str
    runs: int
    mean_s: float | None
    longest_s: float | None


class DagsterRecords:
    """Reads the tables of the instance that the settings name; several threads may use one.

    An instance that is not there yet has no records. Every method raises
    :class:`~tsobs_pipelines.database.DatabaseError` when the tables can't be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.dagster_database_url
        storage = settings.state_dir / "dagster" / "storage"
        self._runs_file = storage / "history" / "runs.db"
        self._schedules_file = storage / "schedules" / "schedules.db"

    def heartbeats(self) -> Sequence[Heartbeat]:
        """Of the loops of the newest daemon; those of its predecessors say nothing."""
        engine = self._engine(self._runs_file)
        if engine is None:
            return []
        with reading(engine) as connection:
            found = [_heartbeat(body) for body in connection.scalars(select(_heartbeats.c.body))]
        newest = max(found, key=lambda beat: beat.at, default=None)
        return [] if newest is None else [beat for beat in found if beat.process == newest.process]

    def newest_ticks(self) -> Sequence[Tick]:
        """The newest tick of each schedule and sensor, by name."""
        return self._newest()

    def last_success(self, schedule: str) -> datetime | None:
        """When the newest tick of this schedule that asked for runs was due."""
        found = self._newest(_ticks.c.type == "SCHEDULE", _ticks.c.status == "SUCCESS")
        return next((tick.at for tick in found if tick.name == schedule), None)

    def tick_counts(self, since: datetime) -> Sequence[TickCount]:
        """The ticks since then, counted by schedule or sensor and status."""
        engine = self._engine(self._schedules_file)
        if engine is None:
            return []
        newest = self._newest_by_key(engine)
        counted = (
            select(_ticks.c.selector_id, _ticks.c.status, func.count())
            .where(_ticks.c.selector_id.in_(newest.keys()), _ticks.c.timestamp >= since)
            .group_by(_ticks.c.selector_id, _ticks.c.status)
        )
        with reading(engine) as connection:
            rows = connection.execute(counted).all()
        return [TickCount(newest[key].name, newest[key].kind, status, count) for key, status, count in rows]

    def ended_runs(self, since: datetime) -> Sequence[EndedRuns]:
        """The runs that ended since then, by job and status."""
        engine = self._engine(self._runs_file)
        if engine is None:
            return []
        seconds = _runs.c.end_time - _runs.c.start_time
        statement = (
            select(_runs.c.pipeline_name, _runs.c.status, func.count(), func.avg(seconds), func.max(seconds))
            # Never earlier than the end of the run, and indexed, which the end time is not.
            .where(_runs.c.status.in_(_ENDED), _runs.c.update_timestamp >= since)
            .where(_runs.c.end_time >= since.timestamp())
            .group_by(_runs.c.pipeline_name, _runs.c.status)
            .order_by(_runs.c.pipeline_name, _runs.c.status)
        )
        with reading(engine) as connection:
            return [EndedRuns(*row) for row in connection.execute(statement)]

    def _newest(self, *where: ColumnElement[bool]) -> list[Tick]:
        engine = self._engine(self._schedules_file)
        if engine is None:
            return []
        return sorted(self._newest_by_key(engine, *where).values(), key=lambda tick: tick.name)

    def _newest_by_key(self, engine: Engine, *where: ColumnElement[bool]) -> dict[str, Tick]:
        # One look into the index (selector_id, timestamp) for each, however many ticks there are.
        newest = (
            select(_ticks.c.id)
            .where(_ticks.c.selector_id == _instigators.c.selector_id, *where)
            .order_by(_ticks.c.timestamp.desc(), _ticks.c.id.desc())
            .limit(1)
            .correlate(_instigators)
            .scalar_subquery()
        )
        wanted = _ticks.c.id.in_(select(newest).select_from(_instigators))
        columns = (_ticks.c.selector_id, _ticks.c.type, _ticks.c.status, _ticks.c.tick_body)
        with reading(engine) as connection:
            rows = connection.execute(select(*columns).where(wanted)).all()
        return {key: _tick(kind, status, body) for key, kind, status, body in rows}

    def _engine(self, file: Path) -> Engine | None:
        if self._url is not None:
            return engine_for(self._url.get_secret_value())
        return existing_sqlite(file) if file.exists() else None


def _heartbeat(body: str) -> Heartbeat:
    daemon, process, at = _said(body, "daemon_type", "daemon_id", "timestamp")
    return Heartbeat(str(daemon), str(process), _time(at))


def _tick(kind: str, status: str, body: str) -> Tick:
    # Dagster keeps the name that the field had in its early versions.
    name, at = _said(body, "job_name", "timestamp")
    return Tick(str(name), kind.lower(), status, _time(at))


def _said(body: str, *names: str) -> list[object]:
    try:
        said = json.loads(body)
        return [said[name] for name in names]
    except (ValueError, LookupError, TypeError) as error:
        msg = f"a record of Dagster's can't be read ({type(error).__name__}: {error}), expected {names}"
        raise DatabaseError(msg) from error


def _time(seconds: object) -> datetime:
    if not isinstance(seconds, (int, float)):
        msg = f"Dagster's timestamp={seconds!r}, expected epoch seconds"
        raise DatabaseError(msg)
    return datetime.fromtimestamp(seconds, UTC)
