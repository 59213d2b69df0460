"""Whether a journal day that was read may replace the rows in the store.

An answer can be whole HTTP and still not be the day: a page of a proxy, an empty or cut file, lines of a
sidecar that is newer than this reader. Booked as complete, such a day would be lost until it is backfilled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from tsobs_pipelines.tailnet.client import DayIndex
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.journal_lines import SkipReason
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.timeseries.schema import Measurement, RowT, SchemaError

MOST_ROUNDS: Final = 100_000
"""Of a day, at one a second and a little more: an endless answer must not fill the memory."""

_UNREADABLE: Final[tuple[SkipReason, ...]] = ("malformed", "torn", "too-long")


class IncompleteDayError(RuntimeError):
    """The journal's day can't be collected as it was answered; the text says what is missing."""


@dataclass(slots=True)
class DayLines:
    """The rounds of a day's answer, and whether they are all that it should have.

    Attributes:
        counts: what was read so far.
        too_new: lines of a version that is not known here, after the newest round that could be read.
    """

    day: date
    counts: JournalCounts = field(default_factory=JournalCounts)
    too_new: int = 0

    def rounds(self, chunks: Iterable[bytes]) -> Iterator[Round]:
        """The rounds, as many as a day can have.

        Raises:
            IncompleteDayError: there are more.
        """
        known = 0
        for this in read_rounds(chunks, self.counts, self.day):
            if self.counts.rounds > MOST_ROUNDS:
                raise IncompleteDayError(f"{self.day}: more than {MOST_ROUNDS} rounds, which no day has")
            known = self.counts.skipped["version"]
            yield this
        self.too_new = self.counts.skipped["version"] - known

    def check(self, announced: DayIndex | None, stored: int) -> None:
        """Check that this may replace what the store has.

        Args:
            announced: what the sidecar's index said of the day before.
            stored: rounds of the day in the store.

        Raises:
            IncompleteDayError: there is less than announced or than in the store, or most of it is no
                journal.
        """
        counts, lines = self.counts, announced.rounds if announced else 0
        unreadable = sum(counts.skipped[reason] for reason in _UNREADABLE)
        if counts.lines < lines:
            raise IncompleteDayError(f"{self.day}: the journal announced {lines} lines, {counts.lines} came")
        if unreadable > counts.lines / 2:
            raise IncompleteDayError(
                f"{self.day}: {unreadable} of {counts.lines} lines are no rounds of a journal"
            )
        if counts.rounds < stored:
            self.check_versions()
            raise IncompleteDayError(
                f"{self.day}: the journal has {counts.rounds} rounds, the store {stored} and keeps them"
            )

    def check_versions(self) -> None:
        """Check that the newest lines can be read.

        Raises:
            IncompleteDayError: their version is not known here.
        """
        if self.too_new:
            raise IncompleteDayError(
                f"{self.day}: the newest {self.too_new} lines of the journal have a version that this tsobs "
                "can't read: upgrade it, and they are collected"
            )


def storable(measurement: Measurement[RowT], rows: Sequence[RowT]) -> tuple[list[RowT], int]:
    """The rows that the store takes, and how many it would not: one that can't be stored costs itself."""
    fitting: list[RowT] = []
    for row in rows:
        try:
            fitting.append(measurement.conform(row))
        except SchemaError:
            continue
    return fitting, len(rows) - len(fitting)
