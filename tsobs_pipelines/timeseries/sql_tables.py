"""The table of a measurement: its columns, its creation, and the upgrade of older versions.

A time is kept as microseconds since the Unix epoch, so that windows, buckets and days are integer arithmetic
in both databases; the view ``<measurement>_utc`` shows it as a person reads it.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Double, Engine, MetaData, Table, Text, inspect, text
from sqlalchemy.schema import CreateColumn
from sqlalchemy.types import TypeEngine

from tsobs_pipelines.database import DatabaseError, name_of, reading, writing
from tsobs_pipelines.timeseries.rows import UNKNOWN_TAG
from tsobs_pipelines.timeseries.schema import TIME, FieldType, Measurement, Row

# Postgres orders text by the rules of a language unless told otherwise; the order of code points is one
# that SQLite, Python and every server share.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


@cache
def table_of(measurement: Measurement[Row]) -> Table:
    """The table of a measurement; its primary key is the time and the identity tags."""
    key = (TIME, *measurement.identity)
    columns: list[Column[Any]] = [Column(TIME, BigInteger, primary_key=True, autoincrement=False)]
    ordered = (*measurement.identity, *(tag for tag in measurement.tags if tag not in measurement.identity))
    columns += [
        Column(
            tag,
            _TEXT,
            primary_key=tag in key,
            nullable=False,
            server_default=None if tag in key else UNKNOWN_TAG,
        )
        for tag in ordered
    ]
    columns += [Column(field.name, _column_type(field.type)) for field in measurement.fields]
    # The key is the tree in which SQLite keeps the rows: a window is one range of it.
    return Table(measurement.name, MetaData(), *columns, sqlite_with_rowid=False)


def _column_type(field_type: FieldType) -> TypeEngine[Any]:
    if field_type == "int":
        return BigInteger()
    return Double() if field_type == "float" else _TEXT


def ensure_table(engine: Engine, measurement: Measurement[Row]) -> None:
    """Make the table and its view, or add the columns that an older version lacks; safe in several processes.

    Raises:
        DatabaseError: the table has another primary key, or the database refuses.
    """
    table = table_of(measurement)
    with reading(engine) as connection:
        if _is_current(connection, table):
            return
    with writing(engine) as connection:
        lock_writers(connection, measurement)
        if _is_current(connection, table):
            return
        table.create(connection, checkfirst=True)
        _check_key(engine, connection, table)
        connection.execute(text(f"DROP VIEW IF EXISTS {_quoted(connection, _view_name(table))}"))
        for column in _missing(connection, table):
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {_quoted(connection, table.name)} ADD COLUMN {definition}"))
        connection.execute(text(_view_sql(connection, table)))


def lock_writers(connection: Connection, measurement: Measurement[Row]) -> None:
    """Let one writer of the measurement at a time go on, until the transaction ends.

    In Postgres a replacement would otherwise not see, and so not remove, what another one has just written.
    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        number = zlib.crc32(f"tsobs {measurement.name}".encode())
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def _is_current(connection: Connection, table: Table) -> bool:
    inspector = inspect(connection)
    return (
        inspector.has_table(table.name)
        and _key(connection, table) == _declared_key(table)
        and not _missing(connection, table)
        and _view_name(table) in inspector.get_view_names()
    )


def _missing(connection: Connection, table: Table) -> list[Column[Any]]:
    present = {column["name"] for column in inspect(connection).get_columns(table.name)}
    return [column for column in table.columns if column.name not in present]


def _key(connection: Connection, table: Table) -> list[str]:
    return sorted(inspect(connection).get_pk_constraint(table.name)["constrained_columns"])


def _declared_key(table: Table) -> list[str]:
    return sorted(column.name for column in table.primary_key)


def _check_key(engine: Engine, connection: Connection, table: Table) -> None:
    found, expected = _key(connection, table), _declared_key(table)
    if found != expected:
        raise DatabaseError(
            f"{name_of(engine)}: table {table.name} has the key {found}, expected {expected}; "
            "rename the table, and what the journal and the sources still have is collected again"
        )


def _view_name(table: Table) -> str:
    return f"{table.name}_utc"


def _view_sql(connection: Connection, table: Table) -> str:
    time = _quoted(connection, TIME)
    if connection.dialect.name == "sqlite":
        seconds = f"strftime('%Y-%m-%dT%H:%M:%S', {time} / 1000000, 'unixepoch')"
        shown = f"{seconds} || printf('.%06dZ', {time} % 1000000)"
    else:
        shown = f"to_timestamp({time} / 1000000.0)"
    others = ", ".join(_quoted(connection, column.name) for column in table.columns if column.name != TIME)
    return (
        f"CREATE VIEW {_quoted(connection, _view_name(table))} AS "  # noqa: S608 - names of our own schema
        f"SELECT {shown} AS {time}, {others} FROM {_quoted(connection, table.name)}"
    )


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
