"""The interface of a time-series store; ``influx.py`` and ``sql.py`` implement it.

Rows are as ``schema.py`` declares them. Every window is half open, ``start <= time < end``, in timezone-aware
UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, Protocol, Self, TypeAlias

import msgspec

from tsobs_pipelines.timeseries.schema import Measurement, Row, RowLike, RowT

Where: TypeAlias = Mapping[str, str]
"""Tag values that a row must have, by tag."""


class StoreError(RuntimeError):
    """The store can't do what was asked; the text says which store, what failed, and holds no secret."""


class StoreUnavailableError(StoreError):
    """The store did not answer, or answered that it can't now: worth another try."""


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open span ``start <= time < end``, both timezone-aware."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            msg = f"window {self.start} to {self.end}: expected timezone-aware times"
            raise ValueError(msg)
        if self.start > self.end:
            msg = f"window {self.start} to {self.end}: starts after its end"
            raise ValueError(msg)

    @classmethod
    def of_day(cls, day: date) -> Self:
        """The UTC day."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return cls(start, start + timedelta(days=1))

    @classmethod
    def trailing(cls, now: datetime, span: timedelta) -> Self:
        """The span before ``now``, its last microsecond included."""
        return cls(now - span, now)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One column of a down-sampled series: ``function`` of the values of ``field`` in a bucket."""

    field: str
    function: Literal["min", "max", "mean", "sum", "count"]
    name: str


class Downsampled(msgspec.Struct, frozen=True):
    """One bucket of a down-sampled series: its start, and the aggregates by their names."""

    time: datetime
    values: Mapping[str, float | int | None]

    def __getitem__(self, name: str) -> float | int | None:
        """The aggregate of this name."""
        return self.values[name]


class TimeSeriesStore(Protocol):
    """Where rows are kept. One instance may be used by several threads.

    Every method raises :class:`StoreUnavailableError` when the store can't be reached or is busy for too
    long, and :class:`StoreError` for anything else that the store refuses.
    """

    def write(self, measurement: Measurement[Row], rows: Sequence[RowLike]) -> None:
        """Write rows; a row with the key of an old one takes its place, whichever tags or fields changed."""
        ...

    def replace(
        self,
        measurement: Measurement[Row],
        window: Window,
        rows: Sequence[RowLike],
        where: Where | None = None,
    ) -> None:
        """Make ``rows`` all there is in the window (among the rows with the tags ``where``).

        A row outside of the window, or with other tags than ``where``, is a ``SchemaError``. Killed midway it
        leaves old rows, new rows, or both, and never a gap where both have a row.
        """
        ...

    def read(self, measurement: Measurement[RowT], window: Window, where: Where | None = None) -> list[RowT]:
        """The rows of the window, every column present, in the order of time and identity."""
        ...

    def downsample(
        self,
        measurement: Measurement[Row],
        window: Window,
        every: timedelta,
        aggregates: Sequence[Aggregate],
        where: Where | None = None,
    ) -> list[Downsampled]:
        """Aggregates over buckets of ``every`` (whole seconds, aligned to the Unix epoch), oldest first.

        Aggregates are over all matching series together; a bucket without rows is absent, an aggregate over
        no values is ``None`` (a count is 0).
        """
        ...

    def latest(
        self, measurement: Measurement[RowT], window: Window, where: Where | None = None
    ) -> list[RowT]:
        """The newest row of the window for each identity, in the order of identity."""
        ...

    def count_times(
        self, measurement: Measurement[Row], window: Window, where: Where | None = None
    ) -> dict[date, int]:
        """How many different times have a row, for each UTC day that has any."""
        ...

    def delete(self, measurement: Measurement[Row], window: Window, where: Where | None = None) -> None:
        """Remove the rows of the window."""
        ...

    def ping(self) -> str:
        """Name and version of the store that answered, for example ``InfluxDB v2.7.12``."""
        ...

    def close(self) -> None:
        """Give connections back; the instance can't be used afterwards."""
        ...
