"""The newest rounds, read from the journal before they are in the store.

A collection runs every five minutes; the sidecar's journal is a minute old. The rounds in between are read
with ``/samples/<day>?after=``, each once, and held in memory for an hour.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.tailnet.newest import RecentJournal, rounds_after
from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet.rows import connection_rows
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.schema import ConnectionRow

logger = logging.getLogger(__name__)

HELD_FOR = timedelta(hours=1)
READY_AFTER_S = 5.0
"""A round takes some seconds from the time that it bears until its line is written."""

SHORTEST_WAIT_S = 15.0
LONGEST_WAIT_S = 60.0
"""At most so long after a look the next one is taken, whatever the interval of the rounds."""


@dataclass(frozen=True, slots=True)
class FreshRounds:
    """Rows of ``CONNECTIONS`` of the last hour's rounds as the journal has them, oldest first.

    ``problem`` says why the last look failed; the rows of the looks before it still hold.
    ``wait_s`` is after how many seconds another look can find more.
    """

    rows: Sequence[ConnectionRow] = ()
    problem: str = ""
    wait_s: float = SHORTEST_WAIT_S
    regions: Mapping[int, str] = field(default_factory=dict)
    """Codes of DERP regions by their numbers, as far as pongs came over them."""

    @property
    def newest(self) -> datetime | None:
        """The time of the newest round."""
        return self.rows[-1].time if self.rows else None

    def of(self, hostname: str, after: datetime | None) -> list[ConnectionRow]:
        """The node's rows that are later than ``after``."""
        return [row for row in self.rows if row.hostname == hostname and (after is None or row.time > after)]


class FreshReader:
    """Reads new rounds from the journals; one read per tailnet at a time."""

    def __init__(self, journals: Mapping[str, RecentJournal], clock: Callable[[], datetime]) -> None:
        self._journals = journals
        self._clock = clock
        self._held: dict[str, FreshRounds] = {}

    def held(self, tailnet: str) -> FreshRounds:
        """The result of the last read."""
        return self._held.get(tailnet, FreshRounds())

    def read(self, tailnet: Tailnet, stored_until: datetime | None) -> FreshRounds:
        """Look for rounds later than what is held or stored; a sidecar that does not answer is an answer."""
        now, held = self._clock(), self.held(tailnet.name)
        oldest = now - HELD_FOR
        known = [time for time in (held.newest, stored_until) if time is not None and time <= now]
        kept = [row for row in held.rows if row.time >= oldest]
        try:
            found = rounds_after(self._journals[tailnet.name], max([oldest, *known]), now)
        except SidecarError as error:
            logger.debug("no fresh rounds of %s: %s", tailnet.name, error)
            fresh = FreshRounds(kept, str(error), LONGEST_WAIT_S, held.regions)
        else:
            rows = [*kept, *connection_rows(found, tailnet.critical_nodes, tailnet.name)]
            wait_s = _wait_s([*known, *(row.time for row in rows)], now)
            fresh = FreshRounds(rows, "", wait_s, {**held.regions, **_regions(found)})
        self._held[tailnet.name] = fresh
        return fresh


def _regions(rounds: Iterable[Round]) -> dict[int, str]:
    pings = (ping for this in rounds for burst in this.pings.values() for ping in burst)
    return {ping.region_id: clean(ping.region_code) for ping in pings if ping.region_id and ping.region_code}


def _wait_s(times: Sequence[datetime], now: datetime) -> float:
    """Until the round after the newest one is there."""
    distinct = sorted(set(times))
    if not distinct:
        return LONGEST_WAIT_S
    interval_s = min(((b - a).total_seconds() for a, b in pairwise(distinct)), default=LONGEST_WAIT_S)
    due_s = (distinct[-1] - now).total_seconds() + interval_s + READY_AFTER_S
    return min(max(due_s, SHORTEST_WAIT_S), LONGEST_WAIT_S)
