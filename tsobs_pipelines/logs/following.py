"""Follows the day files as they are written: each complete line once, in the order of the files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tsobs_pipelines.logs.lines import Entry, last_whole, parse_line
from tsobs_pipelines.logs.matching import LogQuery, matches

BLOCK_BYTES = 1 << 20
_ALWAYS = ""


class LogFollower:
    """Reads what the files of today and yesterday got since the last look."""

    def __init__(self, directory: Path, query: LogQuery, now: datetime) -> None:
        """Begin at the present end of the files."""
        self._directory = directory
        self._query = query
        self._read = {path: path.stat().st_size for path in self._files(now) if path.exists()}

    def look(self, now: datetime) -> Iterator[Entry]:
        """The entries that were written since the last look and match; ``now`` tells today's file."""
        for path in self._files(now):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            try:
                yield from self._new_entries(path, fd)
            finally:
                os.close(fd)

    def _files(self, now: datetime) -> list[Path]:
        today: date = now.astimezone(UTC).date()
        return [self._directory / f"tsobs-{day}.jsonl" for day in (today - timedelta(days=1), today)]

    def _new_entries(self, path: Path, fd: int) -> Iterator[Entry]:
        rest = b""
        while block := os.pread(fd, BLOCK_BYTES, self._read.get(path, 0) + len(rest)):
            lines, end, rest = (rest + block).rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(lines) + len(end)
            for line in lines.split(b"\n"):
                entry = parse_line(line) or last_whole(line)
                if entry is not None and matches(self._query, entry, _ALWAYS):
                    yield entry
