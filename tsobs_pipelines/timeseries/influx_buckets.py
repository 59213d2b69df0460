"""Down-sampling in InfluxDB: what each series' storage computes, and how the series are merged.

``aggregateWindow`` over one series is computed where the data is, without the values leaving it; over grouped
series it is not. So the parts come for each series, at most one record for a bucket, and are combined here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeAlias

from tsobs_pipelines.timeseries.influx_points import NANOS_PER_MICRO, integer_of, times_ns
from tsobs_pipelines.timeseries.rows import MICROS_PER_SECOND, from_micros
from tsobs_pipelines.timeseries.schema import Measurement, Row
from tsobs_pipelines.timeseries.store import Aggregate, Downsampled

Part: TypeAlias = tuple[tuple[str, str] | None, int, float | None]
"""Field and function (None: of any), microseconds of the record's time, and the value."""

_ANY = "any"
_PARTS_OF = {"mean": ("sum", "count")}
_COMBINE: dict[str, Callable[[Iterable[float]], float]] = {"min": min, "max": max, "sum": sum, "count": sum}


class BucketPlan:
    """One down-sampling of a measurement."""

    def __init__(
        self, measurement: Measurement[Row], every: timedelta, aggregates: Sequence[Aggregate]
    ) -> None:
        """Plan the parts that the aggregates are made of."""
        self._every = every
        self._aggregates = aggregates
        self._types = {field.name: field.type for field in measurement.fields}
        wanted = {(a.field, part) for a in aggregates for part in _PARTS_OF.get(a.function, (a.function,))}
        self._parts = {f"part{number}": part for number, part in enumerate(sorted(wanted))}

    def parameters(self) -> dict[str, str | timedelta]:
        """The parameters of the query beside those of its source."""
        fields: dict[str, str | timedelta] = {f"field_{name}": part[0] for name, part in self._parts.items()}
        return {"every": self._every, **fields}

    def flux(self, source: str) -> str:
        """The query over the records of ``source``."""
        window = 'createEmpty: false, timeSrc: "_start"'
        # Each stream has its own source: two that share one are computed value by value, 50 times slower.
        # A bucket with rows, but without a value of the fields asked for, is there all the same.
        every_bucket = (
            f"{source}  |> aggregateWindow(every: every, fn: count, {window})\n"
            '  |> keep(columns: ["_time"]) |> group() |> distinct(column: "_time")\n'
            f'  |> rename(columns: {{_value: "_time"}}) |> yield(name: "{_ANY}")'
        )
        streams = [every_bucket]
        streams += [
            f"{source}  |> filter(fn: (r) => r._field == field_{name})\n"
            f"  |> aggregateWindow(every: every, fn: {function}, {window})\n"
            f'  |> keep(columns: ["_time", "_value"]) |> yield(name: "{name}")'
            for name, (_, function) in self._parts.items()
        ]
        return "\n".join(streams)

    def part_of(self, columns: Sequence[str]) -> Callable[[Sequence[str]], Part]:
        """Converter of the query's records.

        Raises:
            KeyError, ValueError: columns, names or values that the query can't have; so does the converter.
        """
        to_ns = times_ns()
        name, time = columns.index("result"), columns.index("_time")
        value = columns.index("_value") if "_value" in columns else None

        def convert(cells: Sequence[str]) -> Part:
            micros = to_ns(cells[time]) // NANOS_PER_MICRO
            if cells[name] == _ANY:
                return None, micros, None
            part = self._parts[cells[name]]
            if value is None:
                raise KeyError("_value")
            return part, micros, self._number(part, cells[value])

        return convert

    def _number(self, part: tuple[str, str], text: str) -> float | None:
        field, function = part
        if not text:
            return None
        if function == "count":
            return int(text)
        return integer_of(text) if self._types[field] == "int" else float(text)

    def combined(self, found: Iterable[Part]) -> list[Downsampled]:
        """The rows of the down-sampling, oldest first."""
        step = int(self._every.total_seconds()) * MICROS_PER_SECOND
        buckets: dict[int, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
        for part, micros, value in found:
            # The first bucket is said to start where the window does.
            values = buckets[micros - micros % step]
            if part is not None and value is not None:
                values[part].append(value)
        return [
            Downsampled(
                from_micros(start),
                {aggregate.name: _value(aggregate, buckets[start]) for aggregate in self._aggregates},
            )
            for start in sorted(buckets)
        ]


def _value(aggregate: Aggregate, values: dict[tuple[str, str], list[float]]) -> float | int | None:
    if aggregate.function == "mean":
        count = sum(values[aggregate.field, "count"])
        return sum(values[aggregate.field, "sum"]) / count if count else None
    parts = values[aggregate.field, aggregate.function]
    if not parts:
        return 0 if aggregate.function == "count" else None
    return _COMBINE[aggregate.function](parts)
