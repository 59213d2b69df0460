"""Dagster's SQLite storage without work that it repeats at each call.

Dagster creates a new SQLAlchemy engine for each call, which therefore recompiles each statement, and opens
and closes the file. It also checks repeatedly for tables and columns that every file has had for years. A
sensor tick makes a dozen such calls, and reopens the whole storage in the code server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache, lru_cache
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tsobs_pipelines.database import kept_sqlite, sqlite_engine


class RunStorage(SqliteRunStorage):
    """Dagster's, on one engine."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        with _engine(self._conn_string).begin() as connection:
            yield connection


class EventLogStorage(SqliteEventLogStorage):
    """Dagster's, on one engine for the index and one for each run that is being written or read."""

    keeps_runs_open: ClassVar[bool] = False
    """Whether the files of runs stay open until ``close_engines``: so in a process that executes a run."""

    _made_by: ClassVar[list[str]] = []

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._initialized_dbs.add(INDEX_SHARD_NAME)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        url = self.conn_string_for_shard(shard)
        kept = shard == INDEX_SHARD_NAME or self.keeps_runs_open
        engine = _engine(url) if kept else _engine_of_run(url)
        with self._db_lock:
            if shard not in self._initialized_dbs:
                self._make(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _make(self, engine: Engine) -> None:
        """Make the file of a run, unless it is there: with what Dagster's own way leads to, all at once.

        Dagster's way takes 40 ms of CPU for each run, most of it for SQLAlchemy's and alembic's Python.
        """
        with engine.connect() as connection:
            if _is_made(connection):
                return
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            if not connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar():
                for statement in self._statements():
                    connection.exec_driver_sql(statement)
                connection.commit()
                return
        # Made meanwhile, or half made by a process without this class that was killed.
        self._initdb(engine)

    def _statements(self) -> Sequence[str]:
        """The SQL that makes of a new file what Dagster's own way makes; worked out once for each process."""
        if not EventLogStorage._made_by:
            with TemporaryDirectory(prefix="tsobs-events-") as place:
                file = f"{place}/run.db"
                self._initdb(create_engine(f"sqlite:///{file}", poolclass=NullPool))
                with closing(sqlite3.connect(file)) as connection:
                    _begin, *EventLogStorage._made_by, _commit = connection.iterdump()
        return EventLogStorage._made_by

    def has_table(self, table_name: str) -> bool:
        """Whether the index has this table."""
        # Asked within a transaction as well: without the lock, on a connection of its own.
        with _engine(self.conn_string_for_shard(INDEX_SHARD_NAME)).connect() as connection:
            return connection.dialect.has_table(connection, table_name)


class ScheduleStorage(SqliteScheduleStorage):
    """Dagster's, on one engine; it remembers what the schema has, which no migration takes away."""

    _has_instigators = False

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._built: set[str] = set()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        with _engine(self._conn_string).begin() as connection:
            yield connection

    def has_instigators_table(self) -> bool:
        """Whether the table of schedules and sensors is there."""
        self._has_instigators = self._has_instigators or super().has_instigators_table()
        return self._has_instigators

    def _has_instigators_table(self, conn: Connection) -> bool:
        return self._has_instigators or super()._has_instigators_table(conn)

    def has_built_index(self, migration_name: str) -> bool:
        """Whether a migration of the data is done."""
        if migration_name not in self._built and super().has_built_index(migration_name):
            self._built.add(migration_name)
        return migration_name in self._built


class SqliteStorage(DagsterSqliteStorage):
    """What ``dagster.yaml`` names: Dagster's storage with the classes above."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Not DagsterSqliteStorage's, which makes and migrates the files each time.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        runs, events, schedules = _files(base_dir)
        self.base_dir = base_dir
        self._inst_data = inst_data
        self._run_storage = RunStorage(runs)
        self._event_log_storage = EventLogStorage(events)
        self._schedule_storage = ScheduleStorage(schedules)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The storage in the directory ``base_dir``."""
        return cls.from_local(inst_data=inst_data, **config_value)


@cache
def _files(base_dir: str) -> tuple[str, str, str]:
    """The URLs of runs and schedules and the directory of the event log, made and migrated by Dagster."""
    stock = DagsterSqliteStorage(base_dir)
    return (
        stock._run_storage._conn_string,  # noqa: SLF001
        stock._event_log_storage._base_dir,  # noqa: SLF001
        stock._schedule_storage._conn_string,  # noqa: SLF001
    )


def _is_made(connection: Connection) -> bool:
    """Whether the file has all its tables: this one is the last that is filled."""
    try:
        return connection.exec_driver_sql("SELECT 1 FROM alembic_version").first() is not None
    except OperationalError:
        return False


def _engine(url: str) -> Engine:
    return kept_sqlite(url, SQLITE_BUSY_TIMEOUT_SECONDS)


@lru_cache(maxsize=16)
def _engine_of_run(url: str) -> Engine:
    # Without a pool: other processes read many runs, and housekeeping removes these files.
    return sqlite_engine(make_url(url), SQLITE_BUSY_TIMEOUT_SECONDS, NullPool)
