"""Rounds that were due but are not in the store, or could not be taken, for each watched node."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil

from tsobs_pipelines.api.series import whole
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.sampling import sampling_at
from tsobs_pipelines.timeseries.schema import CONNECTIONS, SUMMARY
from tsobs_pipelines.timeseries.store import Aggregate, TimeSeriesStore, Where, Window

SPAN = timedelta(hours=24)

ON_THEIR_WAY = timedelta(minutes=10)
"""Younger rounds may wait for the next tick and its run: they are not missed yet."""

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_STORED = (Aggregate("pings_sent", "count", "rounds"), Aggregate("answered", "count", "taken"))


def rounds_missing(store: TimeSeriesStore, tailnet: Tailnet, now: datetime) -> Mapping[str, int]:
    """Rounds of the 24 hours that ended ten minutes ago that were due and not taken or stored, by host name.

    They are due at the sampler's interval, as for the check ``rounds_complete``. Of a node that is not known
    from a day before, they are due from its first round on; one that has none has no figure. Raises what the
    store raises.
    """
    window = Window(now - ON_THEIR_WAY - SPAN, now - ON_THEIR_WAY)
    # The daily summary has one row a node, which is cheap to read.
    past = Window(window.start - _WEEK, window.start.replace(hour=0, minute=0, second=0, microsecond=0))
    known = {row.hostname for row in store.latest(SUMMARY, past, {"tailnet": tailnet.name})}
    interval = sampling_at(store, tailnet.name, now).interval
    found: dict[str, int] = {}
    for name in tailnet.critical_nodes:
        where = {"tailnet": tailnet.name, "hostname": name}
        since = window.start if name in known else _first_round(store, where, window)
        if since is not None:
            due = ceil((window.end - since) / interval)
            found[name] = max(0, due - _taken(store, where, window))
    return found


def _taken(store: TimeSeriesStore, where: Where, window: Window) -> int:
    """How many rounds were taken: all that are stored, but for the unknown ones that do not say so."""
    days = store.downsample(CONNECTIONS, window, _DAY, _STORED, where)
    unknown = store.downsample(CONNECTIONS, window, _DAY, _STORED, {**where, "connection_type": "unknown"})
    stored = sum(whole(day["rounds"]) for day in days)
    return stored - sum(whole(day["rounds"]) - whole(day["taken"]) for day in unknown)


def _first_round(store: TimeSeriesStore, where: Where, window: Window) -> datetime | None:
    rows = store.read(CONNECTIONS, window, where)
    return rows[0].time if rows else None
