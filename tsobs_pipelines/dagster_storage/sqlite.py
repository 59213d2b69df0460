"""Dagster's SQLite storage without work that it repeats at each call.

Dagster creates a new SQLAlchemy engine for each call, which therefore recompiles each statement, and opens
and closes the file. It also checks repeatedly for tables and columns that every file has had for years. A
sensor tick makes a dozen such calls, and reopens the whole storage in the code server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tsobs_pipelines.database import kept_sqlite, sqlite_engine
from tsobs_pipelines.upkeep.integrity import dagster_files

_TABLES = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"


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
        """Make the file of a run, unless it is there: all at once, with the tables of the index.

        Dagster's way to the same tables takes 40 ms of CPU, most of it SQLAlchemy's and alembic's.
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

    def _statements(self) -> Iterator[str]:
        """The SQL that makes the tables of the index, and says which migration they are of."""
        with _engine(self.conn_string_for_shard(INDEX_SHARD_NAME)).connect() as index:
            yield from index.exec_driver_sql(_TABLES).scalars()
            (version,) = index.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
        yield f"INSERT INTO alembic_version VALUES ('{version}')"  # noqa: S608 - alembic's own number

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
        # Not DagsterSqliteStorage's, which looks each time whether the files have to be made.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        files = dagster_files(Path(base_dir))
        if not all(file.exists() for file in files):
            DagsterSqliteStorage.from_local(base_dir)
        runs, index, schedules = files
        self.base_dir = base_dir
        self._inst_data = inst_data
        self._run_storage = RunStorage(_url(runs))
        self._event_log_storage = EventLogStorage(str(index.parent))
        self._schedule_storage = ScheduleStorage(_url(schedules))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The storage in the directory ``base_dir``."""
        return cls(inst_data=inst_data, **config_value)


def _url(file: Path) -> str:
    return create_db_conn_string(str(file.parent), file.stem)


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
