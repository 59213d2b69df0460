"""Rows against their measurement: conversions, rejected values and error messages."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

import pytest

from tsobs_pipelines.timeseries.schema import (
    CONNECTIONS,
    MEASUREMENTS,
    Field,
    FieldUnit,
    Identity,
    Measurement,
    PriceRow,
    Row,
    SchemaError,
    Tag,
    Value,
    conform_all,
)

AT = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)


class WeatherRow(Row, frozen=True):
    place: Identity
    kind: Tag
    level: Annotated[float | None, FieldUnit("m")] = None
    count: Annotated[int | None, FieldUnit("drops")] = None
    note: Annotated[str | None, FieldUnit("text")] = None


WEATHER = Measurement("weather", WeatherRow)


def row(**changes: Value) -> dict[str, Value]:
    return {"time": AT, "place": "a", "kind": "rain", "level": 1.5, **changes}


def test_a_row_gets_every_column_in_order() -> None:
    conformed = WEATHER.conform(row())
    assert conformed == WeatherRow(AT, "a", "rain", 1.5)
    assert WEATHER.columns == ("time", "place", "kind", "level", "count", "note")
    assert [conformed[name] for name in WEATHER.columns] == [AT, "a", "rain", 1.5, None, None]


def test_the_schema_is_what_the_rows_class_declares() -> None:
    assert (WEATHER.tags, WEATHER.identity) == (("place", "kind"), ("place",))
    assert WEATHER.fields == (
        Field("level", "float", "m"),
        Field("count", "int", "drops"),
        Field("note", "str", "text"),
    )


def test_a_row_is_conformed_as_its_values_are() -> None:
    madrid = AT.astimezone(timezone(timedelta(hours=1)))
    found = WEATHER.conform(WeatherRow(madrid, "a", "rain", math.nan, 3, ""))
    assert found == WeatherRow(AT, "a", "rain", None, 3, None)
    with pytest.raises(SchemaError, match="weather: PriceRow is no row of it"):
        WEATHER.conform(PriceRow(AT, "demo", 0.1))


def test_a_column_without_a_tag_or_a_unit_is_refused() -> None:
    class Bare(Row, frozen=True):
        place: Identity
        level: float | None = None

    with pytest.raises(TypeError, match="bare: level is neither a tag nor a field with a unit"):
        _ = Measurement("bare", Bare).fields


def test_times_become_utc() -> None:
    madrid = AT.astimezone(timezone(timedelta(hours=1)))
    time = WEATHER.conform(row(time=madrid)).time
    assert (time, time.tzinfo) == (AT, UTC)


@pytest.mark.parametrize("value", [None, math.nan, ""])
def test_what_is_no_value_is_none(value: Value) -> None:
    assert WEATHER.conform(row(note="x", level=value)).level is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("level", 3, 3.0),
        ("level", 0, 0.0),
        ("count", 4.0, 4),
        ("count", -(2**63), -(2**63)),
        ("count", 2**53 + 1, 2**53 + 1),
        ("note", "España 🐌\n", "España 🐌\n"),
    ],
)
def test_values_are_cast_to_the_declared_type(name: str, value: Value, expected: Value) -> None:
    found = WEATHER.conform(row(**{name: value}))[name]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "weather: unknown column 'colour'"),
        ({"time": AT.replace(tzinfo=None)}, "timezone-aware"),
        ({"time": "2026-11-24"}, "timezone-aware"),
        ({"place": None}, "place=None"),
        ({"place": ""}, "place=''"),
        ({"place": 7}, "place=7"),
        ({"place": "x" * 251}, "1 to 250 characters"),
        ({"place": "a\0b"}, "place='a"),
        ({"kind": "\ud800"}, "kind="),
        ({"level": "high"}, "weather: level='high', expected float"),
        ({"level": math.inf}, "level=inf"),
        ({"count": 1.5}, "count=1.5, expected int"),
        ({"count": math.inf}, "count=inf"),
        ({"count": 2**63}, "expected int"),
        ({"count": "1"}, "count='1'"),
        ({"note": 5}, "note=5, expected str"),
        ({"note": "a\0"}, "expected str"),
        ({"level": None}, "no field has a value"),
    ],
)
def test_a_bad_row_is_refused_with_its_measurement_key_and_value(
    changes: dict[str, Value], said: str
) -> None:
    with pytest.raises(SchemaError, match="weather") as caught:
        WEATHER.conform(row(**changes))
    assert said in str(caught.value)


def test_a_missing_tag_is_refused() -> None:
    with pytest.raises(SchemaError, match="tag place=None"):
        WEATHER.conform({"time": AT, "kind": "rain", "level": 1.0})


def test_rows_come_one_for_each_key_in_the_order_of_time_and_identity() -> None:
    rows = [
        row(time=AT + timedelta(microseconds=1), place="b"),
        row(time=AT, place="b", kind="old"),
        row(time=AT, place="a"),
        row(time=AT, place="b", kind="new"),
    ]
    conformed = conform_all(WEATHER, rows)
    assert [(r.time, r.place, r.kind) for r in conformed] == [
        (AT, "a", "rain"),
        (AT, "b", "new"),
        (AT + timedelta(microseconds=1), "b", "rain"),
    ]


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.name)
def test_declarations_hold_together(measurement: Measurement[Row]) -> None:
    assert set(measurement.identity) <= set(measurement.tags)
    assert measurement.columns == ("time", *measurement.tags, *measurement.field_names)
    assert len(set(measurement.columns)) == len(measurement.columns)
    assert all(name.isidentifier() for name in (measurement.name, *measurement.columns))
    assert all(field.unit for field in measurement.fields)


def test_measurements_have_names_of_their_own() -> None:
    assert len({measurement.name for measurement in MEASUREMENTS}) == len(MEASUREMENTS)


def test_connections_has_what_the_design_names() -> None:
    assert CONNECTIONS.name == "tailscale_connections"
    assert {"hostname", "connection_type", "relay_node"} <= set(CONNECTIONS.tags)
    types = {field.name: field.type for field in CONNECTIONS.fields}
    assert types == {
        **dict.fromkeys(("latency_avg", "latency_min", "latency_max", "latency_cold"), "float"),
        **dict.fromkeys(("pings_sent", "pings_received", "tx_bytes", "rx_bytes"), "int"),
        **dict.fromkeys(("tx_delta", "rx_delta", "answered"), "int"),
        **dict.fromkeys(("evidence", "reason"), "str"),
    }
