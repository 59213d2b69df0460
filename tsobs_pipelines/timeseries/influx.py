"""Time series in InfluxDB 2.

InfluxDB identifies a point by its time and *all* of its tags, and merges the fields of two writes. Our rows
are identified by time and identity tags, and replace the old row as a whole. So a writer reads the existing
points, writes the new ones, and only then deletes those that became stale. A lock file serialises the writers
of one machine; Dagster's concurrency pools serialise those of several machines.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice
from pathlib import Path

from filelock import FileLock, Timeout

from tsobs_pipelines.secret_url import masked
from tsobs_pipelines.settings import Settings, SettingsError
from tsobs_pipelines.timeseries.influx_buckets import BucketPlan
from tsobs_pipelines.timeseries.influx_client import InfluxAddress, InfluxConnection, Parameters
from tsobs_pipelines.timeseries.influx_points import (
    NANOS_PER_MICRO,
    Found,
    Point,
    Tags,
    encode_text,
    found_of,
    identity_of,
    micros_of_values,
    point_of,
    predicate,
    row_of,
    sort_key,
)
from tsobs_pipelines.timeseries.rows import (
    MICROS_PER_DAY,
    check_aggregates,
    check_inside,
    check_where,
    conformed_chunks,
    from_micros,
    micros_of,
    to_micros,
)
from tsobs_pipelines.timeseries.schema import Measurement, Row, RowLike, RowT
from tsobs_pipelines.timeseries.store import (
    Aggregate,
    Downsampled,
    StoreError,
    StoreUnavailableError,
    Where,
    Window,
)

_CHUNK_ROWS = 5_000
_LOCK_TIMEOUT_S = 60
_EARLIEST = datetime(1678, 1, 1, tzinfo=UTC)
_LATEST = datetime(2262, 1, 1, tzinfo=UTC)

_SOURCE = """from(bucket: bucket)
  |> range(start: start, stop: stop)
  |> filter(fn: (r) => r._measurement == measurement)
"""
_PIVOT = """  |> drop(columns: ["_start", "_stop", "_measurement"])
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
"""
_ACCESS = """from(bucket: bucket)
  |> range(start: start, stop: stop)
  |> limit(n: 1)
  |> keep(columns: ["_time"])
"""

Key = tuple[int, Tags]
"""Microseconds since the Unix epoch, and encoded identity tags."""


class InfluxStore:
    """A :class:`~tsobs_pipelines.timeseries.store.TimeSeriesStore` in a bucket of InfluxDB 2."""

    def __init__(self, address: InfluxAddress, lock_directory: Path) -> None:
        """Make the store; nothing is connected to yet. The locks are made in ``lock_directory``."""
        self._connection = InfluxConnection(address)
        self._locks = lock_directory

    def write(self, measurement: Measurement[Row], rows: Sequence[RowLike]) -> None:
        """Write the rows, then remove the points with the same keys and other tags."""
        points = _points(measurement, rows)
        if not points:
            return
        times = [time for time, _ in points]
        touched = Window(from_micros(min(times)), from_micros(max(times) + 1))
        with self._turn(measurement):
            found = self._found(measurement, touched, {})
            self._exchange(measurement, points, found, lambda one: _key(measurement, one) in points)

    def replace(
        self,
        measurement: Measurement[Row],
        window: Window,
        rows: Sequence[RowLike],
        where: Where | None = None,
    ) -> None:
        """Write the rows, then remove the other points of the window."""
        tags = check_where(measurement, where)
        points = _points(measurement, rows, window, tags)
        wanted = [(measurement.tags.index(tag), encode_text(value)) for tag, value in tags.items()]

        def concerned(one: Found) -> bool:
            inside = all(one.tags[place] == value for place, value in wanted)
            return inside or _key(measurement, one) in points

        # A row may have an old point outside of ``where``, but never one with another identity.
        narrowed = {tag: value for tag, value in tags.items() if tag in measurement.identity}
        with self._turn(measurement):
            found = self._found(measurement, window, narrowed)
            self._exchange(measurement, points, found, concerned)

    def read(self, measurement: Measurement[RowT], window: Window, where: Where | None = None) -> list[RowT]:
        """The rows of the window, in the order of time and identity."""
        query = self._query(measurement, window, check_where(measurement, where))
        if query is None:
            return []
        source, parameters = query
        rows = self._connection.query(source + _PIVOT, parameters, row_of(measurement))
        # A writer that was killed may have left the old and the new point of a row.
        rows_by_key = {measurement.key(row): row for row in rows}
        return sorted(rows_by_key.values(), key=sort_key(measurement))

    def downsample(
        self,
        measurement: Measurement[Row],
        window: Window,
        every: timedelta,
        aggregates: Sequence[Aggregate],
        where: Where | None = None,
    ) -> list[Downsampled]:
        """Aggregates over buckets: of each series by InfluxDB's storage, of all of them together here."""
        check_aggregates(measurement, every, aggregates)
        query = self._query(measurement, window, check_where(measurement, where))
        if query is None:
            return []
        source, parameters = query
        plan = BucketPlan(measurement, every, aggregates)
        found = self._connection.query(plan.flux(source), {**parameters, **plan.parameters()}, plan.part_of)
        return plan.combined(found)

    def latest(
        self, measurement: Measurement[RowT], window: Window, where: Where | None = None
    ) -> list[RowT]:
        """The newest row of the window for each identity."""
        query = self._query(measurement, window, check_where(measurement, where))
        if query is None:
            return []
        source, parameters = query
        # The last value of each field, and of each series: those with the newest time are the newest row.
        rows = self._connection.query(f"{source}  |> last()\n{_PIVOT}", parameters, row_of(measurement))
        rows.sort(key=sort_key(measurement))
        newest = {tuple(str(row[tag]) for tag in measurement.identity): row for row in rows}
        return [newest[identity] for identity in sorted(newest)]

    def count_times(
        self, measurement: Measurement[Row], window: Window, where: Where | None = None
    ) -> dict[date, int]:
        """How many different times have a row, for each UTC day that has any."""
        query = self._query(measurement, window, check_where(measurement, where))
        if query is None:
            return {}
        source, parameters = query
        distinct = '  |> keep(columns: ["_time"])\n  |> group()\n  |> distinct(column: "_time")\n'
        found = self._connection.query(source + distinct, parameters, micros_of_values)
        counts: dict[date, int] = {}
        for start, times in groupby(sorted(set(found)), lambda micros: micros - micros % MICROS_PER_DAY):
            counts[from_micros(start).date()] = sum(1 for _ in times)
        return counts

    def delete(self, measurement: Measurement[Row], window: Window, where: Where | None = None) -> None:
        """Remove the points of the window."""
        tags = check_where(measurement, where)
        inside = _clamped(window)
        if inside.start < inside.end:
            terms = predicate(measurement, [(tag, encode_text(value)) for tag, value in tags.items()])
            with self._turn(measurement):
                first, after = to_micros(inside.start), to_micros(inside.end)
                self._connection.delete(first * NANOS_PER_MICRO, after * NANOS_PER_MICRO - 1, terms)

    def ping(self) -> str:
        """Name and version of the server, after a read of the bucket that shows that the token opens it."""
        version = self._connection.version()
        now = datetime.now(UTC)
        bucket = self._connection.address.bucket
        parameters: Parameters = {"bucket": bucket, "start": now - timedelta(seconds=1), "stop": now}
        self._connection.query(_ACCESS, parameters, lambda _columns: lambda _cells: None)
        return f"InfluxDB {version}"

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    @contextmanager
    def _turn(self, measurement: Measurement[Row]) -> Iterator[None]:
        address = self._connection.address
        place = zlib.crc32(f"{address.url} {address.org} {address.bucket}".encode())
        path = self._locks / f"influx-{place:08x}-{measurement.name}.lock"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(path, mode=0o600).acquire(timeout=_LOCK_TIMEOUT_S)
        except Timeout:
            msg = f"InfluxDB {masked(address.url)}: another writer of {measurement.name} holds {path}"
            raise StoreUnavailableError(msg) from None
        except OSError as error:
            raise StoreError(f"lock file {path}: {error.strerror}") from None
        with lock:
            yield

    def _query(
        self, measurement: Measurement[Row], window: Window, where: Where
    ) -> tuple[str, dict[str, str | int | datetime | timedelta]] | None:
        inside = _clamped(window)
        if inside.start >= inside.end:
            return None  # InfluxDB refuses an empty range
        parameters: dict[str, str | int | datetime | timedelta] = {
            "bucket": self._connection.address.bucket,
            "measurement": measurement.name,
            "start": inside.start,
            "stop": inside.end,
        }
        source = _SOURCE
        for number, (tag, value) in enumerate(where.items()):
            source += f"  |> filter(fn: (r) => r.{tag} == where{number})\n"
            parameters[f"where{number}"] = encode_text(value)
        return source, parameters

    def _found(self, measurement: Measurement[Row], window: Window, where: Where) -> list[Found]:
        query = self._query(measurement, window, where)
        if query is None:
            return []
        source, parameters = query
        found = self._connection.query(source + _PIVOT, parameters, found_of(measurement))
        # A point without one of our tags is somebody else's; a predicate could not name it alone either.
        return [one for one in found if all(one.tags)]

    def _exchange(
        self,
        measurement: Measurement[Row],
        points: Mapping[Key, Point],
        found: Sequence[Found],
        concerned: Callable[[Found], bool],
    ) -> None:
        """Write the points, then remove every found one that is concerned and not among them."""
        kept: dict[Tags, list[int]] = defaultdict(list)
        stale: dict[Tags, list[int]] = defaultdict(list)
        shrunk: dict[Key, Point] = {}
        for one in found:
            key = _key(measurement, one)
            point = points.get(key)
            if point is not None and point.tags == one.tags and one.time_ns == key[0] * NANOS_PER_MICRO:
                if one.fields & ~point.fields:
                    shrunk[key] = point
            elif concerned(one):
                stale[one.tags].append(one.time_ns)
            else:
                kept[one.tags].append(one.time_ns)
        for (micros, _), point in points.items():
            kept[point.tags].append(micros * NANOS_PER_MICRO)
        self._put({key: point for key, point in points.items() if key not in shrunk}, 0)
        self._put_shrunk(measurement, shrunk)
        for tags, times in stale.items():
            for first, last in _spans(times, kept[tags]):
                self._remove(measurement, tags, first, last)

    def _put(self, points: Mapping[Key, Point], later_ns: int) -> None:
        lines = (
            f"{point.line} {micros * NANOS_PER_MICRO + later_ns}" for (micros, _), point in points.items()
        )
        while chunk := list(islice(lines, _CHUNK_ROWS)):
            self._connection.write(chunk)

    def _put_shrunk(self, measurement: Measurement[Row], points: Mapping[Key, Point]) -> None:
        """Write points that have lost a field.

        A write would leave the old value of the field, and only a whole point can be removed. So the new one
        is kept a nanosecond later, where readers see it at the same microsecond, while its place is cleared.
        """
        self._put(points, 1)
        for (micros, _), point in points.items():
            time = micros * NANOS_PER_MICRO
            self._remove(measurement, point.tags, time, time)
        self._put(points, 0)
        for (micros, _), point in points.items():
            time = micros * NANOS_PER_MICRO + 1
            self._remove(measurement, point.tags, time, time)

    def _remove(self, measurement: Measurement[Row], tags: Tags, first_ns: int, last_ns: int) -> None:
        terms = predicate(measurement, zip(measurement.tags, tags, strict=True))
        self._connection.delete(first_ns, last_ns, terms)


def open_influx(settings: Settings) -> InfluxStore:
    """The store in the bucket of the settings.

    Raises:
        SettingsError: only a part of what InfluxDB needs is set.
    """
    given = {
        "INFLUXDB_V2_URL": settings.influx_url and settings.influx_url.get_secret_value(),
        "INFLUXDB_V2_ORG": settings.influx_org,
        "INFLUXDB_V2_TOKEN": settings.influx_token and settings.influx_token.get_secret_value(),
    }
    missing = [name for name, value in given.items() if not value]
    missing += [] if settings.influx_bucket else ["TSOBS_INFLUX_BUCKET"]
    if missing:
        present = [name for name, value in given.items() if value]
        raise SettingsError(
            f"{' and '.join(missing)}: unset, expected a value beside {' and '.join(present)}"
        )
    url, org, token = (value or "" for value in given.values())
    return InfluxStore(InfluxAddress(url, org, settings.influx_bucket, token), settings.state_dir / "locks")


def _points(
    measurement: Measurement[Row],
    rows: Sequence[RowLike],
    window: Window | None = None,
    where: Where | None = None,
) -> dict[Key, Point]:
    """The point of each key, checked before the first of them is sent."""
    points: dict[Key, Point] = {}
    for chunk in conformed_chunks(measurement, rows, _CHUNK_ROWS):
        if window is not None:
            check_inside(measurement, chunk, window, where or {})
        for row in chunk:
            point = point_of(measurement, row)
            points[micros_of(row), identity_of(measurement, point.tags)] = point
    return points


def _key(measurement: Measurement[Row], found: Found) -> Key:
    return found.time_ns // NANOS_PER_MICRO, identity_of(measurement, found.tags)


def _spans(times: Sequence[int], kept: Sequence[int]) -> list[tuple[int, int]]:
    """The fewest spans that hold all of ``times`` and none of ``kept``, both ends included."""
    spans: list[tuple[int, int]] = []
    barriers = sorted(kept)
    passed = -1
    for time in sorted(times):
        before = bisect_left(barriers, time)
        if spans and before == passed:
            spans[-1] = (spans[-1][0], time)
        else:
            spans.append((time, time))
        passed = before
    return spans


def _clamped(window: Window) -> Window:
    start, end = max(window.start, _EARLIEST), min(window.end, _LATEST)
    return Window(start, max(start, end))
