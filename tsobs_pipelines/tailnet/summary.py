"""Daily summary of each node: rows of ``SUMMARY`` from those of ``CONNECTIONS``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Final, TypeVar

from tsobs_pipelines.timeseries.evidence import answered
from tsobs_pipelines.timeseries.schema import ConnectionRow, SummaryRow

N = TypeVar("N", int, float)

ANSWERED: Final = frozenset({"direct", "relay", "peer-relay"})
"""The types of a round in which the node answered on a known path."""


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The ``share`` quantile (0 to 1) of ascending values, linear between neighbours; ``None`` of none.

    This is definition 7 of Hyndman and Fan (1996), "Sample Quantiles in Statistical Packages", the default of
    numpy and pandas.
    """
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary_rows(day: date, rows: Iterable[ConnectionRow]) -> list[SummaryRow]:
    """One row of ``SUMMARY`` for each tailnet and node that has rows in ``CONNECTIONS`` on the UTC day.

    - ``rounds``: rounds with a row, those of the type ``unknown`` included.
    - ``latency_p50``, ``latency_p95`` (ms): percentiles of the rounds' warm averages; ``latency_max`` (ms):
      the slowest warm pong.
    - ``loss``: share of pings without a pong, over the rounds in which the node was not offline.
    - ``share_direct``: share of ``direct`` among the rounds that the node answered on a known path.
    - ``availability``: share of the rounds that were answered among those that were taken
      (:func:`~tsobs_pipelines.timeseries.evidence.answered`): a round in which the node was not in the
      tailnet, not unique or not probed was not answered, one that could not be taken does not count.
    - ``tx_bytes``, ``rx_bytes``: the sum of the deltas.

    A figure over nothing is ``None``.
    """
    by_node: dict[tuple[str, str], list[ConnectionRow]] = {}
    for row in rows:
        if row.time.astimezone(UTC).date() == day:
            by_node.setdefault((row.tailnet, row.hostname), []).append(row)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [_summary(start, tailnet, hostname, mine) for (tailnet, hostname), mine in sorted(by_node.items())]


def _summary(start: datetime, tailnet: str, hostname: str, rows: Sequence[ConnectionRow]) -> SummaryRow:
    averages = sorted(_known(row.latency_avg for row in rows))
    present = [row for row in rows if row.connection_type != "offline"]
    sent = sum(_known(row.pings_sent for row in present))
    received = sum(_known(row.pings_received for row in present))
    types = [row.connection_type for row in rows]
    on_known_path = sum(kind in ANSWERED for kind in types)
    answers = _known(map(answered, rows))
    return SummaryRow(
        time=start,
        tailnet=tailnet,
        hostname=hostname,
        rounds=len(rows),
        latency_p50=_rounded(percentile(averages, 0.50)),
        latency_p95=_rounded(percentile(averages, 0.95)),
        latency_max=max(_known(row.latency_max for row in rows), default=None),
        loss=_share(sent - received, sent),
        share_direct=_share(types.count("direct"), on_known_path),
        availability=_share(sum(answers), len(answers)),
        tx_bytes=_total(row.tx_delta for row in rows),
        rx_bytes=_total(row.rx_delta for row in rows),
    )


def _known(values: Iterable[N | None]) -> list[N]:
    return [value for value in values if value is not None]


def _total(values: Iterable[int | None]) -> int | None:
    deltas = _known(values)
    return sum(deltas) if deltas else None


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
