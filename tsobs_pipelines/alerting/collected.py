"""What new collections mean for a tailnet's rules: how far the data are complete, and which days changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection: its run and partition, the newest round it brought, and the day it replaced if any.

    ``number`` grows from one collection to the next.
    """

    number: int
    run_id: str
    partition: str
    last_round: datetime | None
    whole_day: date | None


@dataclass(frozen=True, slots=True)
class CollectedRounds:
    """The summary of several new collections.

    All rounds up to ``complete_to`` are in the store. ``whole_days`` were written again as a whole, each with
    the number of the newest collection that did. ``run_id`` and ``partition`` are of the one that brought the
    newest round.
    """

    complete_to: datetime | None
    whole_days: Mapping[date, int]
    run_id: str
    partition: str


def collected_rounds(new: Sequence[Collection]) -> CollectedRounds:
    """Sum up collections, oldest first; at least one."""
    complete_to, source = None, new[-1]
    for one in new:
        if one.last_round is not None and (complete_to is None or one.last_round >= complete_to):
            complete_to, source = one.last_round, one
    whole_days = {one.whole_day: one.number for one in new if one.whole_day is not None}
    return CollectedRounds(complete_to, whole_days, source.run_id, source.partition)
