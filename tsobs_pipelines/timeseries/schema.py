"""Every measurement: its tags, fields, units and types, once.

What belongs here: declarations, and the checks of a row against them. What does not: storage.

A row is a mapping with the key ``time`` (timezone-aware UTC), one string for each tag, and values for at
least one of the fields; a field without a value is absent or ``None``, never 0, NaN or an empty text.
Integers have 64 bits, and texts are what every store can keep: valid Unicode without NUL. ``identity`` names
the tags that, with the time, tell one row from another: the other tags are attributes of the row, and may
change when it is written again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Value: TypeAlias = str | int | float | datetime | None
Row: TypeAlias = dict[str, Value]
FieldType: TypeAlias = Literal["float", "int", "str"]

TIME = "time"

TAG_LENGTH = 250
"""Characters a tag may have: several of them must fit into a key of any store."""

_INT_RANGE = range(-(2**63), 2**63)


class SchemaError(ValueError):
    """A row does not fit its measurement; the text names the measurement, the key and the value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a measurement; ``unit`` is for people and for the documentation."""

    name: str
    type: FieldType
    unit: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement: its name in the store, tags, the tags that identify a row, and fields."""

    name: str
    tags: tuple[str, ...]
    identity: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the fields, in their order."""
        return tuple(field.name for field in self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        """``time``, the tags and the fields, in their order."""
        return (TIME, *self.tags, *self.field_names)

    def key(self, row: Mapping[str, Value]) -> tuple[Value, ...]:
        """What tells this row from others: its time and identity tags."""
        return (row[TIME], *(row[tag] for tag in self.identity))

    def conform(self, row: Mapping[str, Value]) -> Row:
        """The row with every column, values cast to their types, NaN and empty texts turned to ``None``.

        Raises:
            SchemaError: a tag is missing, a column is unknown, a value has another type, or no field has one.
        """
        unknown = row.keys() - set(self.columns)
        if unknown:
            raise SchemaError(f"{self.name}: unknown column {min(unknown)!r}")
        time = row.get(TIME)
        if not isinstance(time, datetime) or time.tzinfo is None:
            raise SchemaError(f"{self.name}: time={time!r}, expected a timezone-aware datetime")
        result: Row = {TIME: time.astimezone(UTC)}
        for tag in self.tags:
            value = row.get(tag)
            if not isinstance(value, str) or not 0 < len(value) <= TAG_LENGTH or not _is_text(value):
                raise SchemaError(f"{self.name}: tag {tag}={value!r}, expected 1 to {TAG_LENGTH} characters")
            result[tag] = value
        empty = True
        for field in self.fields:
            value = result[field.name] = _cast(self, field, row.get(field.name))
            empty = empty and value is None
        if empty:
            raise SchemaError(f"{self.name}: time={result[TIME]}: no field has a value")
        return result


def _cast(measurement: Measurement, field: Field, value: Value) -> Value:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if field.type == "str" and isinstance(value, str) and _is_text(value):
        return value
    if field.type != "str" and isinstance(value, (int, float)) and math.isfinite(value):
        if field.type == "float":
            return float(value)
        if value == int(value) and int(value) in _INT_RANGE:
            return int(value)
    raise SchemaError(f"{measurement.name}: {field.name}={value!r}, expected {field.type}")


def _is_text(value: str) -> bool:
    # A lone surrogate has no UTF-8, and Postgres no NUL.
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _floats(unit: str, *names: str) -> tuple[Field, ...]:
    return tuple(Field(name, "float", unit) for name in names)


def _ints(unit: str, *names: str) -> tuple[Field, ...]:
    return tuple(Field(name, "int", unit) for name in names)


CONNECTIONS = Measurement(
    name="tailscale_connections",
    tags=("tailnet", "hostname", "connection_type", "relay_node"),
    identity=("tailnet", "hostname"),
    fields=(
        *_floats("ms", "latency_avg", "latency_min", "latency_max", "latency_cold"),
        *_ints("pings", "pings_sent", "pings_received"),
        *_ints("bytes", "tx_bytes", "rx_bytes", "tx_delta", "rx_delta"),
    ),
)
"""One node in one round; ``time`` is the round's. ``tailnet`` keeps the demo's rows apart from real ones."""

NETCHECK = Measurement(
    name="tailscale_netcheck",
    tags=("tailnet", "region"),
    identity=("tailnet", "region"),
    fields=(
        *_floats("ms", "latency"),
        *_ints("0 or 1", "preferred", "udp", "ipv6", "mapping_varies"),
    ),
)
"""One DERP region in one netcheck; ``region`` is the region's id, or ``none`` when no region answered."""

SUMMARY = Measurement(
    name="tailscale_connection_summary",
    tags=("tailnet", "hostname"),
    identity=("tailnet", "hostname"),
    fields=(
        *_ints("rounds", "rounds"),
        *_floats("ms", "latency_p50", "latency_p95", "latency_max"),
        *_floats("ratio", "loss", "share_direct", "availability"),
        *_ints("bytes", "tx_bytes", "rx_bytes"),
    ),
)
"""One node on one UTC day; ``time`` is the day's start."""

COLLECTIONS = Measurement(
    name="tailscale_collections",
    tags=("tailnet",),
    identity=("tailnet",),
    fields=(*_ints("lines", "lines", "rounds", "skipped", "duplicates"), *_ints("version", "reader")),
)
"""What was collected of one journal day; ``time`` is the day's start. Healing holds it against the index.

``reader`` is the newest version of the journal's line that was known when the lines were read.
"""

PRICES = Measurement(
    name="electricity_prices",
    tags=("source",),
    identity=("source",),
    fields=_floats("EUR/kWh", "price"),
)
"""One delivery hour; ``time`` is the hour's start."""

FORECASTS = Measurement(
    name="price_forecasts",
    tags=("source", "model", "version"),
    identity=("source", "model"),
    fields=(
        *_floats("EUR/kWh", "yhat", "yhat_lower", "yhat_upper"),
        *_ints("epoch seconds", "issued_at", "trained_to"),
        *_ints("0 or 1", "backfilled"),
    ),
)
"""One delivery hour of a frozen forecast; ``issued_at`` is when it was, or would have been, made."""

MEASUREMENTS: tuple[Measurement, ...] = (CONNECTIONS, NETCHECK, SUMMARY, COLLECTIONS, PRICES, FORECASTS)


def conform_all(measurement: Measurement, rows: Sequence[Mapping[str, Value]]) -> list[Row]:
    """Each row conformed, one for each key (the last wins), in the order of time and identity."""
    by_key = {measurement.key(row): row for row in (measurement.conform(row) for row in rows)}
    return [by_key[key] for key in sorted(by_key, key=lambda key: tuple(str(part) for part in key))]
