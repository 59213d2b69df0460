"""The newest rounds, read from the journal before they are collected into the store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from itertools import islice
from typing import Final, Protocol

from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rounds import Round

MOST_ROUNDS: Final = 400
"""An hour of rounds every ten seconds, and some."""


class RecentJournal(Protocol):
    """What is asked of the sidecar; see ``client.py`` for the errors."""

    def samples(self, day: date, after: datetime | None = None) -> Iterable[bytes]:
        """The day's journal as chunks of bytes, those later than ``after`` only."""
        ...


def rounds_after(journal: RecentJournal, after: datetime, now: datetime) -> list[Round]:
    """The rounds later than ``after``, as many as are bounded by :data:`MOST_ROUNDS` a day, oldest first."""
    found: list[Round] = []
    for day in sorted({after.date(), now.date()}):
        rounds = read_rounds(journal.samples(day, after), JournalCounts(), day)
        found += [this for this in islice(rounds, MOST_ROUNDS) if after < this.at <= now]
    return found
