"""Which of Dagster's runs can be deleted: a rule over ids and times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MOST_AT_ONCE = 5000
"""Runs that one housekeeping removes: about a fortnight of ticks, minutes of work at most."""


@dataclass(frozen=True, slots=True)
class RunRetention:
    """How long runs stay that nothing depends on any more."""

    succeeded: timedelta
    failed: timedelta

    def succeeded_before(self, now: datetime) -> datetime:
        """Superseded runs that ended before this may go."""
        return now - self.succeeded

    def failed_before(self, now: datetime) -> datetime:
        """Failed and cancelled runs that ended before this may go."""
        return now - self.failed


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that go now; ``kept`` are old too, but hold the newest word on something."""

    going: tuple[str, ...]
    kept: int
    left_for_later: int


def select(old: Sequence[str], newest: Collection[str], most: int = MOST_AT_ONCE) -> Selection:
    """Of the runs that are old enough (oldest first), those that hold the newest word on nothing.

    ``newest`` are the runs with the newest event of a partition of an asset, or the newest evaluation of a
    check: Dagster knows the status of a partition from these events alone, so their runs are kept forever.
    """
    superseded = [run for run in old if run not in newest]
    return Selection(tuple(superseded[:most]), len(old) - len(superseded), len(superseded[most:]))
