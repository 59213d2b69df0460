"""The interval of rounds, and the time limits that follow from it.

The sampler's ``SAMPLE_INTERVAL`` is 10 to 3600 seconds. Rules, checks and freshness limits that are right for
a round a minute would never fire, or always, at twenty minutes: they are all derived here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from tsobs_pipelines.timeseries.schema import COLLECTIONS
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

USUAL: Final = timedelta(seconds=60)
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(hours=1)

SILENT_AFTER: Final = timedelta(minutes=15)
"""Silence for so long is told; longer only where two rounds are further apart."""

_KNOWN_FOR: Final = timedelta(days=31)
_COLLECTED_EVERY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Sampling:
    """The interval between two rounds, and what follows from it."""

    interval: timedelta = USUAL

    @classmethod
    def of_seconds(cls, interval: int | None) -> Sampling:
        """By the interval of an account; once a minute where it does not say."""
        return cls(timedelta(seconds=interval)) if interval else cls()

    @property
    def stale_after(self) -> timedelta:
        """Without a round for so long something is wrong: two rounds and a collection may be late."""
        return max(SILENT_AFTER, 2 * self.interval + _COLLECTED_EVERY)

    @property
    def fresh_for(self) -> timedelta:
        """How long what a round says holds for now."""
        return 2 * self.stale_after

    @property
    def lookback(self) -> timedelta:
        """How far back a round looks for the byte counters that its traffic is measured from."""
        return max(SILENT_AFTER, 2 * self.interval + self.interval / 2)

    @property
    def judged_span(self) -> timedelta:
        """The span over which missing rounds are counted: an hour, or twelve rounds."""
        return max(timedelta(hours=1), 12 * self.interval)


def sampling_at(store: TimeSeriesStore, tailnet: str, until: datetime) -> Sampling:
    """How often rounds are taken, by the newest account before ``until``; without one, once a minute."""
    accounts = store.latest(COLLECTIONS, Window.trailing(until, _KNOWN_FOR), {"tailnet": tailnet})
    return Sampling.of_seconds(accounts[0].interval) if accounts else Sampling()


def interval_of(times: Iterable[datetime]) -> timedelta | None:
    """The interval of rounds at these times: the least distance of two; ``None`` when there are not two.

    Rounds are aligned to the interval, so that a missing one makes a distance longer and never shorter.
    """
    ordered = sorted(set(times))
    gaps = [later - earlier for earlier, later in pairwise(ordered)]
    return bounded(min(gaps)) if gaps else None


def bounded(interval: timedelta) -> timedelta:
    """The interval within what a sampler may be set to."""
    return min(max(interval, SHORTEST), LONGEST)
