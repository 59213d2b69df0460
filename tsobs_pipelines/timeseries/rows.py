"""Validation of rows, times and arguments, shared by both backends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import islice

from tsobs_pipelines.timeseries.schema import (
    TIME,
    Field,
    Measurement,
    Row,
    RowLike,
    RowT,
    SchemaError,
    conform_all,
)
from tsobs_pipelines.timeseries.spans import EPOCH
from tsobs_pipelines.timeseries.store import Aggregate, Where, Window

MICROS_PER_SECOND = 1_000_000
MICROS_PER_DAY = 86_400 * MICROS_PER_SECOND
UNKNOWN_TAG = "unknown"
"""The value of a tag in rows that are older than the tag."""


def to_micros(time: datetime) -> int:
    """Microseconds since the Unix epoch, exact."""
    span = time - EPOCH
    return (span.days * 86_400 + span.seconds) * MICROS_PER_SECOND + span.microseconds


def micros_of(row: Row) -> int:
    """The time of a conformed row, in microseconds since the Unix epoch."""
    return to_micros(row.time)


def from_micros(micros: int) -> datetime:
    """The UTC time, exact."""
    return EPOCH + timedelta(microseconds=micros)


def day_of_micros(micros: int) -> date:
    """The UTC day that holds the time."""
    return from_micros(micros).date()


def conformed_chunks(
    measurement: Measurement[RowT], rows: Sequence[RowLike], size: int
) -> Iterator[list[RowT]]:
    """The rows conformed, ``size`` at a time, so that a month of rows is never there twice."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield conform_all(measurement, chunk)


def check_where(measurement: Measurement[Row], where: Where | None) -> Where:
    """``where`` without ``None``.

    Raises:
        SchemaError: a key is not a tag of the measurement.
    """
    unknown = (where or {}).keys() - set(measurement.tags)
    if unknown:
        raise SchemaError(f"{measurement.name}: no tag {min(unknown)!r} to filter by")
    return where or {}


def check_inside(measurement: Measurement[Row], rows: Sequence[Row], window: Window, where: Where) -> None:
    """Refuse conformed rows that a replacement of the window would not find again.

    Raises:
        SchemaError: a row lies outside of the window or has other tags than ``where``.
    """
    for row in rows:
        if not window.start <= row.time < window.end:
            span = f"{window.start} to {window.end}"
            raise SchemaError(f"{measurement.name}: time={row.time} is outside of {span}")
        for tag, value in where.items():
            if row[tag] != value:
                raise SchemaError(f"{measurement.name}: {tag}={row[tag]!r} in a replacement of {value!r}")


def check_aggregates(
    measurement: Measurement[Row], every: timedelta, aggregates: Sequence[Aggregate]
) -> list[tuple[Aggregate, Field]]:
    """Each aggregate with the field it is about.

    Raises:
        SchemaError: a field is unknown, or a text that only ``count`` can be taken of.
        ValueError: ``every`` is not a positive number of whole seconds, or two aggregates share a name.
    """
    if every <= timedelta(0) or every % timedelta(seconds=1):
        msg = f"every={every}: expected a positive number of whole seconds"
        raise ValueError(msg)
    names = [TIME, *(aggregate.name for aggregate in aggregates)]
    if len(set(names)) < len(names):
        msg = f"aggregates {names}: expected different names, none of them {TIME!r}"
        raise ValueError(msg)
    fields = {field.name: field for field in measurement.fields}
    for aggregate in aggregates:
        field = fields.get(aggregate.field)
        if field is None:
            raise SchemaError(f"{measurement.name}: no field {aggregate.field!r} to aggregate")
        if field.type == "str" and aggregate.function != "count":
            raise SchemaError(f"{measurement.name}: {aggregate.function} of the text {aggregate.field!r}")
    return [(aggregate, fields[aggregate.field]) for aggregate in aggregates]
