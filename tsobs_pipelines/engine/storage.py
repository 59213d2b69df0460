"""Dagster's SQLite storage without the work that it does again at each call.

What belongs here: one database engine for each file, and what a schema has once it has it. What does not: a
schema or a statement of our own; files and their content are Dagster's.

Dagster makes a new SQLAlchemy engine for each call, which therefore compiles each statement anew, and asks
again and again whether the file has a table that each file has had for years. A sensor's tick is a dozen of
such calls: they were about a third of the daemon's CPU at rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool


@cache
def _engine(url: str) -> Engine:
    # Without a pool: no connection outlives its call, so none is shared with a forked process.
    return create_engine(url, poolclass=NullPool)


class RunStorage(SqliteRunStorage):
    """Dagster's, on one engine."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        with _engine(self._conn_string).begin() as connection:
            yield connection


class ScheduleStorage(SqliteScheduleStorage):
    """Dagster's, on one engine; it remembers what the schema has, which no migration takes away."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._has_instigators = False
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
        super().__init__(base_dir, inst_data=inst_data)
        self._run_storage = RunStorage(self._run_storage._conn_string)  # noqa: SLF001
        self._schedule_storage = ScheduleStorage(self._schedule_storage._conn_string)  # noqa: SLF001

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The storage in the directory ``base_dir``."""
        return cls.from_local(inst_data=inst_data, **config_value)
