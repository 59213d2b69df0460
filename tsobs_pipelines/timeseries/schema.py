"""The schema of every measurement as the type of its rows: tags, fields, units and types.

A row has a time (timezone-aware UTC), a text for each tag, and a value for at least one field; a field
without a value is ``None``, never 0, NaN or an empty text. Integers have 64 bits, and texts are what every
store can keep: valid Unicode without NUL. The identity tags tell, with the time, one row from another: the
other tags are attributes of the row, and may change when it is written again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Generic, Literal, TypeAlias, TypeVar, get_args, get_type_hints

import msgspec

Value: TypeAlias = str | int | float | datetime | None
FieldType: TypeAlias = Literal["float", "int", "str"]

TIME = "time"

TAG_LENGTH = 250
"""Characters a tag may have: several of them must fit into a key of any store."""

_INT_RANGE = range(-(2**63), 2**63)


class SchemaError(ValueError):
    """A row does not fit its measurement; the text names the measurement, the key and the value."""


class Row(msgspec.Struct, frozen=True):
    """A row of any measurement; the class of a measurement's rows is what declares its columns.

    Structs of msgspec: 100 bytes and 0.2 µs a row, a sixth of the time that a dict takes, a twentieth of a
    frozen dataclass's.
    """

    time: datetime

    def __getitem__(self, column: str) -> Value:
        """The value of a column, for code that is driven by the schema."""
        value: Value = getattr(self, column)
        return value


RowLike: TypeAlias = Row | Mapping[str, Value]
"""What can be written: a row, or its values by column."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a measurement; ``unit`` is for people and for the documentation."""

    name: str
    type: FieldType
    unit: str


@dataclass(frozen=True, slots=True)
class _Tag:
    """Marks a column as a tag."""

    identity: bool = False


@dataclass(frozen=True, slots=True)
class FieldUnit:
    """Marks a column as a field, and names its unit."""

    name: str


Tag: TypeAlias = Annotated[str, _Tag()]
Identity: TypeAlias = Annotated[str, _Tag(identity=True)]
Milliseconds: TypeAlias = Annotated[float | None, FieldUnit("ms")]
Ratio: TypeAlias = Annotated[float | None, FieldUnit("ratio")]
Price: TypeAlias = Annotated[float | None, FieldUnit("EUR/kWh")]
Bytes: TypeAlias = Annotated[int | None, FieldUnit("bytes")]
Pings: TypeAlias = Annotated[int | None, FieldUnit("pings")]
Lines: TypeAlias = Annotated[int | None, FieldUnit("lines")]
Flag: TypeAlias = Annotated[int | None, FieldUnit("0 or 1")]
EpochSeconds: TypeAlias = Annotated[int | None, FieldUnit("epoch seconds")]

RowT = TypeVar("RowT", bound=Row)
RowT_co = TypeVar("RowT_co", bound=Row, covariant=True)


@dataclass(frozen=True)
class Measurement(Generic[RowT_co]):
    """One measurement: its name in the store, and the class of its rows."""

    name: str
    row: type[RowT_co]

    @cached_property
    def _columns(self) -> Mapping[str, _Tag | Field]:
        hints = get_type_hints(self.row, include_extras=True)
        return {name: _column(self.name, name, hints[name]) for name in self.columns if name != TIME}

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """``time``, the tags and the fields, in their order."""
        return self.row.__struct_fields__

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """The names of the tags."""
        return tuple(name for name, column in self._columns.items() if isinstance(column, _Tag))

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """The tags that identify a row."""
        return tuple(tag for tag in self.tags if self._columns[tag] == _Tag(identity=True))

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields."""
        return tuple(column for column in self._columns.values() if isinstance(column, Field))

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the fields, in their order."""
        return tuple(field.name for field in self.fields)

    def key(self, row: Row) -> tuple[Value, ...]:
        """What tells this row from others: its time and identity tags."""
        return (row.time, *(row[tag] for tag in self.identity))

    def conform(self, row: RowLike) -> RowT_co:
        """The row with its time in UTC, values cast to their types, NaN and empty texts turned to ``None``.

        Raises:
            SchemaError: it is a row of another measurement, a tag is missing, a column is unknown, a value
                has another type, or no field has one.
        """
        given = self._values(row)
        time = given[0]
        if not isinstance(time, datetime) or time.tzinfo is None:
            raise SchemaError(f"{self.name}: time={time!r}, expected a timezone-aware datetime")
        values: list[Value] = [time.astimezone(UTC)]
        for tag, value in zip(self.tags, given[1:], strict=False):
            if not isinstance(value, str) or not 0 < len(value) <= TAG_LENGTH or not _is_text(value):
                raise SchemaError(f"{self.name}: tag {tag}={value!r}, expected 1 to {TAG_LENGTH} characters")
            values.append(value)
        empty = True
        for field, value in zip(self.fields, given[len(values) :], strict=True):
            fitting = _cast(self, field, value)
            values.append(fitting)
            empty = empty and fitting is None
        if empty:
            raise SchemaError(f"{self.name}: time={values[0]}: no field has a value")
        return self.row(*values)  # type: ignore[arg-type]

    def _values(self, row: RowLike) -> tuple[Value, ...]:
        if isinstance(row, Row):
            if type(row) is not self.row:
                raise SchemaError(f"{self.name}: {type(row).__name__} is no row of it")
            return msgspec.structs.astuple(row)
        if unknown := row.keys() - set(self.columns):
            raise SchemaError(f"{self.name}: unknown column {min(unknown)!r}")
        return tuple(row.get(name) for name in self.columns)


def _column(measurement: str, name: str, hint: object) -> _Tag | Field:
    """What the annotation of a row's attribute declares."""
    plain, *marks = get_args(hint)
    for mark in marks:
        if isinstance(mark, _Tag):
            return mark
        if isinstance(mark, FieldUnit):
            for python, kind in _FIELD_TYPES.items():
                if plain == python | None:
                    return Field(name, kind, mark.name)
    msg = f"{measurement}: {name} is neither a tag nor a field with a unit"
    raise TypeError(msg)


_FIELD_TYPES: Mapping[type, FieldType] = {float: "float", int: "int", str: "str"}


def _cast(measurement: Measurement[Row], field: Field, value: Value) -> Value:
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


class ConnectionRow(Row, frozen=True):
    """One node in one round; ``time`` is the round's. ``tailnet`` tells simulated rows from real ones.

    ``answered`` is absent in a round that was not taken, so that its mean is the node's availability. Where
    ``connection_type`` does not say it all, ``evidence`` is the kind of what is known (see ``evidence.py``)
    and ``reason`` its words.
    """

    tailnet: Identity
    hostname: Identity
    connection_type: Tag
    relay_node: Tag
    latency_avg: Milliseconds = None
    latency_min: Milliseconds = None
    latency_max: Milliseconds = None
    latency_cold: Milliseconds = None
    pings_sent: Pings = None
    pings_received: Pings = None
    tx_bytes: Bytes = None
    rx_bytes: Bytes = None
    tx_delta: Bytes = None
    rx_delta: Bytes = None
    answered: Flag = None
    evidence: Annotated[str | None, FieldUnit("a kind")] = None
    reason: Annotated[str | None, FieldUnit("a clause for a person")] = None


class NetcheckRow(Row, frozen=True):
    """One DERP region in one netcheck; ``region`` is its id, or ``none`` when no region answered.

    ``code`` is what ``relay_node`` calls it, as far as the round names it; ``port_mapping`` says whether the
    router maps ports by any protocol.
    """

    tailnet: Identity
    region: Identity
    latency: Milliseconds = None
    preferred: Flag = None
    udp: Flag = None
    ipv6: Flag = None
    mapping_varies: Flag = None
    port_mapping: Flag = None
    code: Annotated[str | None, FieldUnit("region code")] = None


class SummaryRow(Row, frozen=True):
    """One node on one UTC day; ``time`` is the day's start."""

    tailnet: Identity
    hostname: Identity
    rounds: Annotated[int | None, FieldUnit("rounds")] = None
    latency_p50: Milliseconds = None
    latency_p95: Milliseconds = None
    latency_max: Milliseconds = None
    loss: Ratio = None
    share_direct: Ratio = None
    availability: Ratio = None
    tx_bytes: Bytes = None
    rx_bytes: Bytes = None


class CollectionRow(Row, frozen=True):
    """What was collected of one journal day; ``time`` is its start. Healing holds it against the index.

    ``reader`` is the newest version of the journal's line that was known when the lines were read,
    ``interval`` the sampler's, by the newest rounds.
    """

    tailnet: Identity
    lines: Lines = None
    rounds: Lines = None
    skipped: Lines = None
    duplicates: Lines = None
    reader: Annotated[int | None, FieldUnit("version")] = None
    interval: Annotated[int | None, FieldUnit("s")] = None


class KeyRow(Row, frozen=True):
    """The key of one node, as the newest round of the UTC day knew it; ``time`` is the day's start.

    ``expires_at`` is absent where the key does not expire; ``own`` marks the node that the sidecar runs on.
    """

    tailnet: Identity
    hostname: Identity
    expires_at: EpochSeconds = None
    expired: Flag = None
    own: Flag = None


class PriceRow(Row, frozen=True):
    """One delivery hour; ``time`` is the hour's start."""

    source: Identity
    price: Price = None


class ForecastRow(Row, frozen=True):
    """One delivery hour of a frozen forecast; ``issued_at`` is when it was, or would have been, made."""

    source: Identity
    model: Identity
    version: Tag
    yhat: Price = None
    yhat_lower: Price = None
    yhat_upper: Price = None
    issued_at: EpochSeconds = None
    trained_to: EpochSeconds = None
    backfilled: Flag = None


CONNECTIONS = Measurement("tailscale_connections", ConnectionRow)
NETCHECK = Measurement("tailscale_netcheck", NetcheckRow)
SUMMARY = Measurement("tailscale_connection_summary", SummaryRow)
COLLECTIONS = Measurement("tailscale_collections", CollectionRow)
KEYS = Measurement("tailscale_keys", KeyRow)
PRICES = Measurement("electricity_prices", PriceRow)
FORECASTS = Measurement("price_forecasts", ForecastRow)

MEASUREMENTS: tuple[Measurement[Row], ...] = (
    CONNECTIONS,
    NETCHECK,
    SUMMARY,
    COLLECTIONS,
    KEYS,
    PRICES,
    FORECASTS,
)


def conform_all(measurement: Measurement[RowT], rows: Sequence[RowLike]) -> list[RowT]:
    """Each row conformed, one for each key (the last wins), in the order of time and identity."""
    by_key = {measurement.key(row): row for row in (measurement.conform(row) for row in rows)}
    return [by_key[key] for key in sorted(by_key, key=lambda key: tuple(str(part) for part in key))]
