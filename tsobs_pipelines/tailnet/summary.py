"""What a day was like for each node: rows of ``SUMMARY`` from those of ``CONNECTIONS``.

What belongs here: the definitions of the day's figures. What does not: the rows of single rounds
(``rows.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final

from tsobs_pipelines.timeseries.schema import Row, Value

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


def summary_rows(day: date, rows: Iterable[Mapping[str, Value]]) -> list[Row]:
    """One row of ``SUMMARY`` for each tailnet and node that has rows in ``CONNECTIONS`` on the UTC day.

    - ``rounds``: rounds with a row, those of the type ``unknown`` included.
    - ``latency_p50``, ``latency_p95`` (ms): percentiles of the rounds' warm averages; ``latency_max`` (ms):
    the slowest
      warm pong.
    - ``loss``: share of pings without a pong, over the rounds in which the node was not offline.
    - ``share_direct``: share of ``direct`` among the rounds that the node answered on a known path.
    - ``availability``: share of the rounds with a pong among those that show whether there was one (not
    ``unknown``
      without a pong).
    - ``tx_bytes``, ``rx_bytes``: the sum of the deltas.

    A figure over nothing is ``None``.
    """
    by_node: dict[tuple[str, str], list[Mapping[str, Value]]] = {}
    for row in rows:
        at = row["time"]
        if isinstance(at, datetime) and at.astimezone(UTC).date() == day:
            by_node.setdefault((str(row["tailnet"]), str(row["hostname"])), []).append(row)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [
        {"time": start, "tailnet": tailnet, "hostname": hostname, **_figures(by_node[tailnet, hostname])}
        for tailnet, hostname in sorted(by_node)
    ]


def _figures(rows: Sequence[Mapping[str, Value]]) -> Row:
    averages = sorted(_numbers(rows, "latency_avg"))
    present = [row for row in rows if row["connection_type"] != "offline"]
    sent, received = sum(_numbers(present, "pings_sent")), sum(_numbers(present, "pings_received"))
    types = [row["connection_type"] for row in rows]
    answered = sum(kind in ANSWERED for kind in types)
    with_pong = sum(1 for count in _numbers(rows, "pings_received") if count)
    known = sum(1 for row in rows if row["connection_type"] != "unknown" or row["pings_received"])
    return {
        "rounds": len(rows),
        "latency_p50": _rounded(percentile(averages, 0.50)),
        "latency_p95": _rounded(percentile(averages, 0.95)),
        "latency_max": max(_numbers(rows, "latency_max"), default=None),
        "loss": _share(sent - received, sent),
        "share_direct": _share(types.count("direct"), answered),
        "availability": _share(with_pong, known),
        "tx_bytes": _total(rows, "tx_delta"),
        "rx_bytes": _total(rows, "rx_delta"),
    }


def _numbers(rows: Sequence[Mapping[str, Value]], column: str) -> list[float]:
    return [value for row in rows if isinstance(value := row[column], (int, float))]


def _total(rows: Sequence[Mapping[str, Value]], column: str) -> int | None:
    deltas = [value for row in rows if isinstance(value := row[column], int)]
    return sum(deltas) if deltas else None


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
