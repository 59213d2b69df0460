"""Finds the lines of a block of bytes that may match, and keeps the newest of them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from tsobs_pipelines.logs.levels import NAMES
from tsobs_pipelines.logs.lines import (
    OWN_START,
    STAMP_LENGTH,
    Entry,
    last_whole,
    own_stamp,
    parse_line,
    stamp_of,
)
from tsobs_pipelines.logs.matching import LogQuery, Needles, matches, needles

SLACK = timedelta(seconds=10)
"""How far lines of different processes may be out of order in a file: the search looks on for that long."""

LONGEST_TEXT = 16_384
"""Longer values are cut in an answer, with a word about it: 100 messages of 1 MB are not an answer."""

_LATEST = "9999-12-31T23:59:59.999999Z"

_FOREIGN = re.compile(
    rb'^(?!\{"timestamp":"[^"\n]{%d}","level":"(?:%b)","logger":")[^\n]+'
    % (STAMP_LENGTH, "|".join(NAMES).encode()),
    re.MULTILINE,
)
"""A line that does not begin as the encoder begins its lines."""

_BEGIN = b"\n" + OWN_START
_LEVELS = tuple(b'Z","level":"%s","logger":"' % name.encode() for name in NAMES)
"""What each line of tsobs holds one of, once."""


def _later(stamp: str, span: timedelta) -> str:
    try:
        return stamp_of(datetime.fromisoformat(stamp) + span)
    except (ValueError, OverflowError):
        return _LATEST


class Newest:
    """The newest ``limit`` entries seen so far, whatever the order in which they come."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[str, tuple[str, int], Entry]] = []

    def add(self, stamp: str, place: tuple[str, int], entry: Entry) -> None:
        """Take an entry; ``place`` orders those of the same instant, and differs for each line."""
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, (stamp, place, _shortened(entry)))
        elif (stamp, place) > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (stamp, place, _shortened(entry)))

    def wants(self, stamp: str) -> bool:
        """Whether an entry of this time could still be among the newest."""
        return len(self._heap) < self._limit or stamp >= self._heap[0][0]

    def entries(self) -> list[Entry]:
        """Newest first."""
        return [entry for _, _, entry in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


def _shortened(entry: Entry) -> Entry:
    for key, value in entry.items():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            entry[key] = f"{value[:LONGEST_TEXT]} … [{len(value) - LONGEST_TEXT} more characters]"
    return entry


class Scanner:
    """Looks through blocks of whole lines for one query."""

    def __init__(self, query: LogQuery, since: str) -> None:
        self.newest = Newest(query.limit)
        self.skipped = 0
        self.scanned_bytes = 0
        self._query = query
        self._since = since
        self._groups = needles(query)
        self._rare: dict[bytes, bytes] = {}

    def may_follow(self, newest_stamp: str | None) -> bool:
        """Whether anything at or before this time, give or take ``SLACK``, can still be asked for."""
        if newest_stamp is None:
            return True
        latest = _later(newest_stamp, SLACK)
        return latest >= self._since and self.newest.wants(latest)

    def level_bits(self, names: tuple[str, ...]) -> int:
        """The levels that are asked for, one bit each in the order of ``names``."""
        return sum(1 << bit for bit, name in enumerate(names) if name in self._query.levels)

    def block(self, data: bytearray | bytes, start: int, end: int, day: str, position: int) -> None:
        """Look through ``data[start:end]``, whole lines; ``data`` begins at ``position`` of the file."""
        self.scanned_bytes += end - start
        groups = self._groups
        if not groups:
            self._every_line(data, start, end, day, position)
            return
        if not self._rare:
            self._learn(data)
        # What other programs wrote has no fixed form that could be looked for: each such line is parsed.
        seen = set()
        if _has_foreign(data, start, end):
            for found in _FOREIGN.finditer(data, start, end):
                seen.add(found.start())
                self._line(data, found.start(), found.end(), day, position)
        if all(self._may_hold(data, group, start, end) for group in groups):
            for line_start, line_end in self._candidates(data, start, end):
                if line_start not in seen:
                    seen.add(line_start)
                    self._line(data, line_start, line_end, day, position)

    def _may_hold(self, data: bytearray | bytes, group: Needles, start: int, end: int) -> bool:
        return any(self._find(data, needle, start, end) >= 0 for needle in group)

    def _candidates(self, data: bytearray | bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where lines begin and end that hold a needle of each group; a line may come twice."""
        for needle in self._groups[0]:
            at = data.find(needle, start, end)
            while at >= 0:
                line_start = data.rfind(b"\n", start, at) + 1 or start
                line_end = data.find(b"\n", at, end)
                if line_end < 0:
                    line_end = end
                if self._has_all(data, line_start, line_end):
                    yield line_start, line_end
                at = data.find(needle, line_end, end)

    def _learn(self, data: bytearray | bytes) -> None:
        """Find out which byte of each needle is the rarest: looking for one byte is many times faster."""
        for needle in (needle for group in self._groups for needle in group):
            self._rare[needle] = min((needle[at : at + 1] for at in range(len(needle))), key=data.count)

    def _find(self, data: bytearray | bytes, needle: bytes, start: int, end: int) -> int:
        rare = data.find(self._rare[needle], start, end)
        return -1 if rare < 0 else data.find(needle, max(start, rare - len(needle)), end)

    def _has_all(self, data: bytearray | bytes, start: int, end: int) -> bool:
        for group in self._groups[1:]:
            for needle in group:
                if data.find(needle, start, end) >= 0:
                    break
            else:
                return False
        return True

    def _every_line(self, data: bytearray | bytes, start: int, end: int, day: str, position: int) -> None:
        while start < end:
            line_end = data.find(b"\n", start, end)
            if line_end < 0:
                line_end = end
            if line_end > start:
                self._line(data, start, line_end, day, position)
            start = line_end + 1

    def _line(self, data: bytearray | bytes, start: int, end: int, day: str, position: int) -> None:
        stamp = own_stamp(data, start)
        if stamp is not None and (stamp < self._since or not self.newest.wants(stamp)):
            return
        line = bytes(data[start:end])
        entry = parse_line(line)
        if entry is None:
            self.skipped += 1
            entry = last_whole(line)
        if entry is not None and matches(self._query, entry, self._since):
            self.newest.add(str(entry["timestamp"]), (day, position + start), entry)


def _has_foreign(data: bytearray | bytes, start: int, end: int) -> bool:
    """Whether some line may be another program's; counting is much faster than looking at each line."""
    lines = data.count(b"\n", start, end) + (not data.endswith(b"\n", start, end))
    begun = data.count(_BEGIN, start, end) + data.startswith(OWN_START, start, end)
    return not lines == begun == sum(data.count(level, start, end) for level in _LEVELS)


def first_stamp(data: bytearray | bytes, start: int, end: int) -> str | None:
    """The timestamp of the first line of tsobs in a block; None when there is none."""
    at = start if data.startswith(OWN_START, start) else data.find(b"\n" + OWN_START, start, end) + 1
    if (at == 0 and start != 0) or at + len(OWN_START) + STAMP_LENGTH > end:
        return None
    return own_stamp(data, at)
