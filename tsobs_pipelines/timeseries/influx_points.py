"""Rows as points of InfluxDB: line protocol, the text of tags, delete predicates, cells of an answer.

Line protocol has no way to write a line break into a tag, treats a backslash by what follows it, answers lose
carriage returns, and a delete predicate is a text that can't take parameters. So control characters,
backslashes, quotes and ``%`` are kept percent-encoded; no host name, region or version has any of them, and
other readers see those as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, cast
from urllib.parse import unquote

from tsobs_pipelines.timeseries.rows import UNKNOWN_TAG, from_micros, to_micros
from tsobs_pipelines.timeseries.schema import TIME, Field, Measurement, Row, RowT, Value

NANOS_PER_MICRO = 1_000

Tags: TypeAlias = tuple[str, ...]
"""The encoded values of a measurement's tags, in their order."""

_TO_ENCODE = re.compile(r"[%\\\"'\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LINE_ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})


@dataclass(frozen=True, slots=True)
class Point:
    """One point to write: ``fields`` is a bit for each field with a value, ``line`` lacks the time."""

    tags: Tags
    fields: int
    line: str


@dataclass(frozen=True, slots=True)
class Found:
    """One point as it is in the store: its exact time, tags, and a bit for each field with a value."""

    time_ns: int
    tags: Tags
    fields: int


def encode_text(value: str) -> str:
    """The text as it is kept."""
    return _TO_ENCODE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value)


def decode_text(value: str) -> str:
    """The text as it was given to :func:`encode_text`."""
    return unquote(value) if "%" in value else value


def point_of(measurement: Measurement[Row], row: Row) -> Point:
    """The point of a conformed row, of which at least one field has a value."""
    tags = tuple(encode_text(str(row[tag])) for tag in measurement.tags)
    written, bits = [], 0
    for number, field in enumerate(measurement.fields):
        value = row[field.name]
        if value is not None:
            written.append(f"{field.name}={_field_text(field, value)}")
            bits |= 1 << number
    tag_text = ",".join(
        f"{tag}={value.translate(_LINE_ESCAPES)}"
        for tag, value in sorted(zip(measurement.tags, tags, strict=True))
    )
    return Point(tags, bits, f"{measurement.name},{tag_text} {','.join(written)}")


def _field_text(field: Field, value: Value) -> str:
    # The type is the schema's, never the value's: a field once written as an integer refuses a float.
    if field.type == "int":
        return f"{value}i"
    if field.type == "float":
        return repr(value)
    return f'"{encode_text(str(value))}"'


def predicate(measurement: Measurement[Row], tags: Iterable[tuple[str, str]]) -> str:
    """The delete predicate for points with these encoded tags; their quotes and backslashes are encoded."""
    terms = [("_measurement", measurement.name), *tags]
    return " AND ".join(f'{name}="{value}"' for name, value in terms)


def identity_of(measurement: Measurement[Row], tags: Tags) -> Tags:
    """The encoded identity tags out of all tags."""
    return tuple(tags[measurement.tags.index(tag)] for tag in measurement.identity)


def times_ns() -> Callable[[str], int]:
    """A function from RFC 3339 to nanoseconds since the Unix epoch, which remembers the times it has seen."""
    known: dict[str, int] = {}

    def convert(text: str) -> int:
        found = known.get(text)
        if found is None:
            whole, _, fraction = text.rstrip("Z").partition(".")
            micros = to_micros(datetime.fromisoformat(f"{whole}+00:00"))
            found = known[text] = micros * NANOS_PER_MICRO + int(fraction.ljust(9, "0") or 0)
        return found

    return convert


def found_of(measurement: Measurement[Row]) -> Callable[[Sequence[str]], Callable[[Sequence[str]], Found]]:
    """Converter of pivoted records to what is needed to tell a stale point."""
    to_ns = times_ns()

    def of_columns(columns: Sequence[str]) -> Callable[[Sequence[str]], Found]:
        place = {name: number for number, name in enumerate(columns)}
        tags = [place.get(tag) for tag in measurement.tags]
        fields = [
            (1 << number, place[field.name])
            for number, field in enumerate(measurement.fields)
            if field.name in place
        ]
        at = place["_time"]
        cache: dict[Tags, Tags] = {}

        def convert(cells: Sequence[str]) -> Found:
            values = tuple("" if number is None else cells[number] for number in tags)
            bits = 0
            for bit, number in fields:
                if cells[number]:
                    bits |= bit
            return Found(to_ns(cells[at]), cache.setdefault(values, values), bits)

        return convert

    return of_columns


def row_of(measurement: Measurement[RowT]) -> Callable[[Sequence[str]], Callable[[Sequence[str]], RowT]]:
    """Converter of pivoted records to rows with every column."""
    to_ns = times_ns()
    times: dict[str, datetime] = {}
    tags: dict[str, str] = {}

    def of_columns(columns: Sequence[str]) -> Callable[[Sequence[str]], RowT]:
        place = {name: number for number, name in enumerate(columns)}
        at = place["_time"]
        tag_places = [place.get(tag) for tag in measurement.tags]
        field_places = [(place.get(field.name), _casts[field.type]) for field in measurement.fields]

        def convert(cells: Sequence[str]) -> RowT:
            text = cells[at]
            time = times.get(text)
            if time is None:
                time = times[text] = from_micros(to_ns(text) // NANOS_PER_MICRO)
            values: list[Value] = [time]
            for number in tag_places:
                value = UNKNOWN_TAG if number is None else cells[number] or UNKNOWN_TAG
                known = tags.get(value)
                if known is None:
                    known = tags[value] = decode_text(value)
                values.append(known)
            for number, cast_to in field_places:
                cell = "" if number is None else cells[number]
                values.append(cast_to(cell) if cell else None)
            return measurement.row(*values)  # type: ignore[arg-type]

        return convert

    return of_columns


def integer_of(cell: str) -> int:
    """The value of an integer field; one that somebody else has written as a float has a fraction."""
    return int(cell) if cell.lstrip("-").isdigit() else int(float(cell))


_casts: dict[str, Callable[[str], Value]] = {"float": float, "int": integer_of, "str": decode_text}


def micros_of_values(columns: Sequence[str]) -> Callable[[Sequence[str]], int]:
    """Converter of records whose ``_value`` is a time to microseconds since the Unix epoch."""
    to_ns = times_ns()
    at = columns.index("_value")
    return lambda cells: to_ns(cells[at]) // NANOS_PER_MICRO


def sort_key(measurement: Measurement[Row]) -> Callable[[Row], tuple[datetime, ...]]:
    """Key for the order of time and identity."""
    names = (TIME, *measurement.identity)
    return lambda row: cast("tuple[datetime, ...]", tuple(row[name] for name in names))
