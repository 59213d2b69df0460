"""Time series in SQLite or Postgres, through SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, delete, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from tsobs_pipelines.database import DatabaseError, DatabaseUnavailableError, engine_for, reading, writing
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.timeseries.rows import (
    MICROS_PER_DAY,
    MICROS_PER_SECOND,
    check_aggregates,
    check_inside,
    check_where,
    conformed_chunks,
    day_of_micros,
    from_micros,
    micros_of,
    to_micros,
)
from tsobs_pipelines.timeseries.schema import TIME, Field, Measurement, Row, RowLike, RowT
from tsobs_pipelines.timeseries.sql_tables import ensure_table, lock_writers, table_of
from tsobs_pipelines.timeseries.store import (
    Aggregate,
    Downsampled,
    StoreError,
    StoreUnavailableError,
    Where,
    Window,
)

_CHUNK_ROWS = 5_000


class SqlStore:
    """A :class:`~tsobs_pipelines.timeseries.store.TimeSeriesStore` in a SQL database."""

    def __init__(self, url: SecretUrl | str) -> None:
        """Make the store of an SQLAlchemy URL; nothing is connected to yet.

        Raises:
            StoreError: the URL can't be used.
        """
        with _translated():
            self._engine: Engine = engine_for(url)
        self._ready: set[str] = set()

    def write(self, measurement: Measurement[Row], rows: Sequence[RowLike]) -> None:
        """Upsert the rows in one transaction."""
        if not rows:
            return
        with self._writing(measurement) as (connection, table):
            for chunk in conformed_chunks(measurement, rows, _CHUNK_ROWS):
                _upsert(connection, measurement, table, chunk)

    def replace(
        self,
        measurement: Measurement[Row],
        window: Window,
        rows: Sequence[RowLike],
        where: Where | None = None,
    ) -> None:
        """Delete and insert in one transaction: a reader sees the old rows or the new ones."""
        tags = check_where(measurement, where)
        with self._writing(measurement) as (connection, table):
            connection.execute(delete(table).where(_inside(table, window, tags)))
            for chunk in conformed_chunks(measurement, rows, _CHUNK_ROWS):
                check_inside(measurement, chunk, window, tags)
                _upsert(connection, measurement, table, chunk)

    def read(self, measurement: Measurement[RowT], window: Window, where: Where | None = None) -> list[RowT]:
        """The rows of the window, in the order of time and identity."""
        tags = check_where(measurement, where)
        with self._reading(measurement) as (connection, table):
            columns = [table.c[name] for name in measurement.columns]
            order = [table.c[name] for name in (TIME, *measurement.identity)]
            found = connection.execute(select(*columns).where(_inside(table, window, tags)).order_by(*order))
            return _rows(measurement, found.all())

    def downsample(
        self,
        measurement: Measurement[Row],
        window: Window,
        every: timedelta,
        aggregates: Sequence[Aggregate],
        where: Where | None = None,
    ) -> list[Downsampled]:
        """Aggregates over buckets, computed by the database."""
        wanted = check_aggregates(measurement, every, aggregates)
        tags = check_where(measurement, where)
        with self._reading(measurement) as (connection, table):
            bucket = _floor(table.c[TIME], int(every.total_seconds()) * MICROS_PER_SECOND).label("bucket")
            columns = [_aggregate(table, aggregate) for aggregate in aggregates]
            statement = select(bucket, *columns).where(_inside(table, window, tags))
            found = connection.execute(statement.group_by(bucket).order_by(bucket)).all()
        return [
            Downsampled(
                from_micros(time),
                {
                    aggregate.name: _number(aggregate, field, value)
                    for (aggregate, field), value in zip(wanted, values, strict=True)
                },
            )
            for time, *values in found
        ]

    def latest(
        self, measurement: Measurement[RowT], window: Window, where: Where | None = None
    ) -> list[RowT]:
        """The newest row of the window for each identity."""
        tags = check_where(measurement, where)
        with self._reading(measurement) as (connection, table):
            identity = [table.c[name] for name in measurement.identity]
            newest = (
                select(func.max(table.c[TIME]).label(TIME), *identity)
                .where(_inside(table, window, tags))
                .group_by(*identity)
                .subquery()
            )
            match = and_(
                *(table.c[name] == newest.c[name] for name in (TIME, *measurement.identity)),
            )
            columns = [table.c[name] for name in measurement.columns]
            found = connection.execute(select(*columns).join_from(newest, table, match).order_by(*identity))
            return _rows(measurement, found.all())

    def count_times(
        self, measurement: Measurement[Row], window: Window, where: Where | None = None
    ) -> dict[date, int]:
        """How many different times have a row, for each UTC day that has any."""
        tags = check_where(measurement, where)
        with self._reading(measurement) as (connection, table):
            times = select(table.c[TIME]).where(_inside(table, window, tags)).distinct().subquery()
            day = _floor(times.c[TIME], MICROS_PER_DAY).label("day")
            found = connection.execute(select(day, func.count()).group_by(day).order_by(day)).all()
        return {day_of_micros(start): int(count) for start, count in found}

    def delete(self, measurement: Measurement[Row], window: Window, where: Where | None = None) -> None:
        """Remove the rows of the window."""
        tags = check_where(measurement, where)
        with self._writing(measurement) as (connection, table):
            connection.execute(delete(table).where(_inside(table, window, tags)))

    def ping(self) -> str:
        """Name and version of the database that answered."""
        query = "SELECT version()" if self._engine.dialect.name == "postgresql" else "SELECT sqlite_version()"
        with _translated(), reading(self._engine) as connection:
            version = str(connection.execute(text(query)).scalar_one())
        if self._engine.dialect.name == "postgresql":
            return " ".join(version.split()[:2])
        return f"SQLite {version}"

    def close(self) -> None:
        """Give connections back; the engine is shared with others and makes new ones when it is asked to."""
        self._engine.dispose()

    @contextmanager
    def _writing(self, measurement: Measurement[Row]) -> Iterator[tuple[Connection, Table]]:
        with self._prepared(measurement), writing(self._engine) as connection:
            lock_writers(connection, measurement)
            yield connection, table_of(measurement)

    @contextmanager
    def _reading(self, measurement: Measurement[Row]) -> Iterator[tuple[Connection, Table]]:
        with self._prepared(measurement), reading(self._engine) as connection:
            yield connection, table_of(measurement)

    @contextmanager
    def _prepared(self, measurement: Measurement[Row]) -> Iterator[None]:
        with _translated():
            try:
                if measurement.name not in self._ready:
                    ensure_table(self._engine, measurement)
                    self._ready.add(measurement.name)
                yield
            except DatabaseError:
                # The database may have been exchanged for an empty one: look again the next time.
                self._ready.discard(measurement.name)
                raise


def open_sql(settings: Settings) -> SqlStore:
    """The store in the SQL database of the settings."""
    return SqlStore(settings.database_url)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailableError as error:
        raise StoreUnavailableError(str(error)) from error
    except DatabaseError as error:
        raise StoreError(str(error)) from error


def _upsert(connection: Connection, measurement: Measurement[Row], table: Table, rows: Sequence[Row]) -> None:
    parameters = [msgspec.structs.asdict(row) | {TIME: micros_of(row)} for row in rows]
    connection.execute(_upsert_statement(connection, measurement, table), parameters)


def _upsert_statement(connection: Connection, measurement: Measurement[Row], table: Table) -> Insert:
    key = (TIME, *measurement.identity)
    others = [name for name in measurement.columns if name not in key]
    if connection.dialect.name == "postgresql":
        postgres = postgresql.insert(table)
        return postgres.on_conflict_do_update(
            index_elements=key, set_={name: postgres.excluded[name] for name in others}
        )
    lite = sqlite.insert(table)
    return lite.on_conflict_do_update(index_elements=key, set_={name: lite.excluded[name] for name in others})


def _inside(table: Table, window: Window, where: Where) -> ColumnElement[bool]:
    time = table.c[TIME]
    return and_(
        time >= to_micros(window.start),
        time < to_micros(window.end),
        *(table.c[tag] == value for tag, value in where.items()),
    )


def _floor(time: ColumnElement[int], step: int) -> ColumnElement[int]:
    # Both databases' % keeps the sign of the time: the second one is for times before 1970.
    return time - (time % step + step) % step


def _aggregate(table: Table, aggregate: Aggregate) -> ColumnElement[Any]:
    column = table.c[aggregate.field]
    match aggregate.function:
        case "mean":
            return func.avg(column)
        case "count":
            return func.count(column)
        case "min":
            return func.min(column)
        case "max":
            return func.max(column)
        case "sum":
            return func.sum(column)


def _number(aggregate: Aggregate, field: Field, value: object) -> float | int | None:
    if value is None:
        return None
    if aggregate.function == "count" or (field.type == "int" and aggregate.function != "mean"):
        return int(value)  # type: ignore[call-overload, no-any-return]
    return float(value)  # type: ignore[arg-type]


def _rows(measurement: Measurement[RowT], found: Sequence[Sequence[Any]]) -> list[RowT]:
    row = measurement.row
    return [row(from_micros(micros), *values) for micros, *values in found]
