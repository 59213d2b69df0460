"""Rounds that should be in the store by now and are not, for each node that is watched.

What belongs here: how many were due, and how many are stored. What does not: bringing them back (the healing
sensor does), and how the figure is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil

from tsobs_pipelines.api.series import ROUND_S, whole
from tsobs_pipelines.tailnets import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS, SUMMARY
from tsobs_pipelines.timeseries.store import Aggregate, TimeSeriesStore, Window

SPAN = timedelta(hours=24)

ON_THEIR_WAY = timedelta(minutes=10)
"""Younger rounds may wait for the next tick and its run: they are not missed yet."""

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_STORED = (Aggregate("pings_sent", "count", "rounds"),)


def rounds_missing(store: TimeSeriesStore, tailnet: Tailnet, now: datetime) -> Mapping[str, int]:
    """Due less stored rounds of the 24 hours that ended ten minutes ago, by host name.

    A round is due each minute, as for the check ``rounds_complete``. Of a node that is not known from a day
    before, they are due from its first round on; one that has none has no figure. Raises what the store
    raises.
    """
    window = Window(now - ON_THEIR_WAY - SPAN, now - ON_THEIR_WAY)
    # A day's summary is a row for each node: a small look into the past.
    past = Window(window.start - _WEEK, window.start.replace(hour=0, minute=0, second=0, microsecond=0))
    known = {row.hostname for row in store.latest(SUMMARY, past, {"tailnet": tailnet.name})}
    found = {
        name: (_missing if name in known else _missing_since_first)(store, tailnet.name, name, window)
        for name in tailnet.critical_nodes
    }
    return {name: missing for name, missing in found.items() if missing is not None}


def _missing(store: TimeSeriesStore, tailnet: str, hostname: str, window: Window) -> int | None:
    where = {"tailnet": tailnet, "hostname": hostname}
    days = store.downsample(CONNECTIONS, window, _DAY, _STORED, where)
    return _lacking(window.start, window.end, sum(whole(day["rounds"]) for day in days))


def _missing_since_first(store: TimeSeriesStore, tailnet: str, hostname: str, window: Window) -> int | None:
    rows = store.read(CONNECTIONS, window, {"tailnet": tailnet, "hostname": hostname})
    return _lacking(rows[0].time, window.end, len(rows)) if rows else None


def _lacking(start: datetime, end: datetime, stored: int) -> int:
    return max(0, ceil((end - start) / timedelta(seconds=ROUND_S)) - stored)
