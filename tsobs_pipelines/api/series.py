"""Latency over time, down-sampled to a number of points that keeps extremes and gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median_low
from typing import cast

from tsobs_pipelines.api.fresh import FreshRounds
from tsobs_pipelines.api.schemas import ConnectionType, LatencyHistory, LatencyPoint
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.store import Aggregate, Downsampled, TimeSeriesStore, Window

MAX_POINTS = 2000
MAX_HOURS = 8760
"""A year; older rows stay readable in the store."""

ROUND_S = 60
"""The shortest interval of the sampler that is expected, in seconds."""

DIRECT = "direct"
RELAYS = ("relay", "peer-relay")
_KINDS = (DIRECT, *RELAYS, "unreachable", "offline")
"""The paths, the usual ones first; what is none of them is ``unknown``."""

_PINGS = (
    Aggregate("pings_sent", "sum", "sent"),
    Aggregate("pings_received", "sum", "received"),
    Aggregate("pings_sent", "count", "rounds"),
)
_TAKEN = (
    Aggregate("answered", "count", "taken"),
    Aggregate("answered", "sum", "answered"),
)
_ALL = (
    Aggregate("latency_avg", "mean", "latency_ms"),
    Aggregate("latency_min", "min", "latency_min"),
    Aggregate("latency_max", "max", "latency_max"),
    Aggregate("tx_delta", "sum", "tx_bytes"),
    Aggregate("rx_delta", "sum", "rx_bytes"),
    *_PINGS,
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The rounds of one node in one span of time; latencies in ms, ``None`` without a pong."""

    start: datetime
    latency_ms: float | None
    latency_min: float | None
    latency_max: float | None
    rounds: int
    sent: int
    received: int
    tx_bytes: int
    rx_bytes: int
    types: dict[str, int]
    """Rounds of each path; ``sent`` and ``received`` leave those out in which the node was offline."""
    taken: int
    """Rounds that were taken; the others say nothing about the node."""
    answered: int
    """Rounds with a pong, whichever way it came."""

    @property
    def relayed(self) -> int:
        """Rounds over any relay."""
        return sum(self.types.get(name, 0) for name in RELAYS)


def number(value: float | None) -> float | None:
    """A field as a float, rounded to the microsecond that the daemon's clock can mean."""
    return None if value is None else round(float(value), 3)


def whole(value: float | None) -> int:
    """A count or a sum; nothing counts as 0."""
    return 0 if value is None else int(value)


def loss_of(sent: int, received: int) -> float | None:
    """Share of pings without a pong; ``None`` when none was sent."""
    return round(1 - min(received, sent) / sent, 4) if sent else None


def step_for(hours: int, points: int) -> timedelta:
    """The shortest bucket, in whole rounds, of which no more than ``points`` cover ``hours``.

    One bucket more than the span holds, because the first and the last are cut by the window.
    """
    return timedelta(seconds=math.ceil(hours * 3600 / max(points - 1, 1) / ROUND_S) * ROUND_S)


def buckets(
    store: TimeSeriesStore, where: dict[str, str], start: datetime, end: datetime, every: timedelta
) -> list[Bucket]:
    """The buckets that have rounds, oldest first; the first one is whole, whatever ``start`` is."""
    size = int(every.total_seconds())
    window = Window(datetime.fromtimestamp(int(start.timestamp()) // size * size, UTC), end)
    rows = store.downsample(CONNECTIONS, window, every, _ALL, where)
    kinds: dict[datetime, dict[str, Downsampled]] = {}
    left = sum(whole(row["rounds"]) for row in rows)
    for name in _KINDS:
        if left <= 0:
            break  # every round is accounted for: no need to look for the rarer paths
        for row in store.downsample(CONNECTIONS, window, every, _PINGS, {**where, "connection_type": name}):
            kinds.setdefault(row.time, {})[name] = row
            left -= whole(row["rounds"])
    of_unknown: dict[datetime, Downsampled] = {}
    if left > 0:
        where_unknown = {**where, "connection_type": "unknown"}
        found = store.downsample(CONNECTIONS, window, every, _TAKEN, where_unknown)
        of_unknown = {row.time: row for row in found}
    return [_bucket(row, kinds.get(row.time, {}), of_unknown.get(row.time)) for row in rows]


def _bucket(row: Downsampled, kinds: Mapping[str, Downsampled], of_unknown: Downsampled | None) -> Bucket:
    types = {name: whole(part["rounds"]) for name, part in kinds.items()}
    rounds = whole(row["rounds"])
    unknown = rounds - sum(types.values())
    offline = kinds.get("offline")
    # The type says of every round but an unknown one whether it was answered: see timeseries/evidence.py.
    on_known_path = sum(types.get(name, 0) for name in (DIRECT, *RELAYS))
    return Bucket(
        start=row.time,
        latency_ms=number(row["latency_ms"]),
        latency_min=number(row["latency_min"]),
        latency_max=number(row["latency_max"]),
        rounds=rounds,
        sent=whole(row["sent"]) - (whole(offline["sent"]) if offline else 0),
        received=whole(row["received"]) - (whole(offline["received"]) if offline else 0),
        tx_bytes=whole(row["tx_bytes"]),
        rx_bytes=whole(row["rx_bytes"]),
        types={**types, "unknown": unknown} if unknown > 0 else types,
        taken=rounds - unknown + (whole(of_unknown["taken"]) if of_unknown else 0),
        answered=on_known_path + (whole(of_unknown["answered"]) if of_unknown else 0),
    )


def latency_history(
    store: TimeSeriesStore,
    tailnet: str,
    hostname: str,
    *,
    hours: int,
    points: int,
    now: datetime,
    fresh: FreshRounds,
) -> LatencyHistory:
    """The last ``hours`` of one node in at most ``points`` points.

    Rounds are returned as they are when they fit, those of the journal that are not stored yet after the
    others; else in buckets that keep minimum and maximum. Raises what the store raises.
    """
    where = {"tailnet": tailnet, "hostname": hostname}
    window = Window.trailing(now, timedelta(hours=hours))
    if hours * 3600 // ROUND_S <= points:
        rows = store.read(CONNECTIONS, window, where)
        later = fresh.of(hostname, rows[-1].time if rows else window.start)
        if len(rows) + len(later) <= points:
            found = [_point_of_row(row, collected=True) for row in rows]
            found += [_point_of_row(row, collected=False) for row in later]
            return _answer(hostname, hours, found, ROUND_S)
    every = step_for(hours, points)
    summed = buckets(store, where, window.start, window.end, every)
    return _answer(hostname, hours, [_point_of_bucket(b) for b in summed], int(every.total_seconds()))


def _answer(hostname: str, hours: int, points: Sequence[LatencyPoint], step_s: int) -> LatencyHistory:
    times = [point.timestamp.timestamp() for point in points]
    distances = [later - earlier for earlier, later in pairwise(times)]
    usual = int(median_low(distances)) if distances else step_s
    return LatencyHistory(
        hostname=hostname, hours=hours, step_s=max(usual, min(step_s, ROUND_S)), history=list(points)
    )


def _point_of_row(row: ConnectionRow, *, collected: bool) -> LatencyPoint:
    kind = cast("ConnectionType", row.connection_type)
    return LatencyPoint.model_construct(
        timestamp=row.time,
        latency_ms=number(row.latency_avg),
        latency_min=number(row.latency_min),
        latency_max=number(row.latency_max),
        loss=None if kind == "offline" else loss_of(whole(row.pings_sent), whole(row.pings_received)),
        rounds=1,
        connection_type=kind,
        relayed=1.0 if kind in RELAYS else 0.0,
        collected=collected,
    )


def _point_of_bucket(bucket: Bucket) -> LatencyPoint:
    return LatencyPoint.model_construct(
        timestamp=bucket.start,
        latency_ms=bucket.latency_ms,
        latency_min=bucket.latency_min,
        latency_max=bucket.latency_max,
        loss=loss_of(bucket.sent, bucket.received),
        rounds=bucket.rounds,
        connection_type=cast(
            "ConnectionType", max(bucket.types, key=bucket.types.__getitem__, default="unknown")
        ),
        relayed=round(bucket.relayed / bucket.rounds, 4) if bucket.rounds else 0.0,
        collected=True,
    )
