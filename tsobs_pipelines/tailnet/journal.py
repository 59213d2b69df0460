"""Reads the sidecar's journal: a day's bytes become rounds, in the order of the file.

Lines that can't be read are skipped and counted by reason: a crash leaves a torn last line, a newer sidecar
may write a later version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from tsobs_pipelines.tailnet.journal_lines import SkippedLineError, SkipReason, parse_round
from tsobs_pipelines.tailnet.rounds import Round

MAX_LINE: Final = 4 * 2**20
"""Bytes of the longest line that is read; a round of 500 nodes has about 0.3 MB in version 2."""


@dataclass(slots=True)
class JournalCounts:
    """What was read of a journal so far: bytes, lines that are not blank, rounds, and what was left out."""

    lines: int = 0
    bytes: int = 0
    rounds: int = 0
    duplicates: int = 0
    skipped: Counter[SkipReason] = field(default_factory=Counter)

    @property
    def skipped_total(self) -> int:
        """How many lines could not be used."""
        return self.skipped.total()


def read_rounds(chunks: Iterable[bytes], counts: JournalCounts, day: date | None = None) -> Iterator[Round]:
    """The rounds in the bytes of a journal, in the file's order, one for each time (the first one wins).

    Memory is bounded by the longest line (:data:`MAX_LINE`) and a set of the times seen. ``counts`` is kept
    up to date while reading. With ``day`` a round of another UTC day is skipped, for a partition holds one
    day.
    """
    seen: set[datetime] = set()
    for line, complete in _lines(chunks, counts):
        if not line.strip():
            continue
        counts.lines += 1
        try:
            this = parse_round(line)
            if day is not None and this.at.date() != day:
                raise SkippedLineError("other-day")
        except SkippedLineError as skipped:
            counts.skipped["torn" if skipped.reason == "malformed" and not complete else skipped.reason] += 1
            continue
        if this.at in seen:
            counts.duplicates += 1
            continue
        seen.add(this.at)
        counts.rounds += 1
        yield this


def _lines(chunks: Iterable[bytes], counts: JournalCounts) -> Iterator[tuple[bytes, bool]]:
    """Each line with whether its end was seen; a line over the bound is counted and left out."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        counts.bytes += len(chunk)
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            size += len(part)
            if size > MAX_LINE:
                _count_too_long(counts)
            else:
                yield b"".join((*held, part)) if held else part, True
            held, size = [], 0
        size += len(rest)
        if size > MAX_LINE:
            held = []
        elif rest:
            held.append(rest)
    if size > MAX_LINE:
        _count_too_long(counts)
    elif held:
        yield b"".join(held), False


def _count_too_long(counts: JournalCounts) -> None:
    counts.lines += 1
    counts.skipped["too-long"] += 1
