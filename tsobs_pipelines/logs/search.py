"""Finds entries in the log files, the newest first, in memory that does not grow with the files.

Files are read backwards in blocks. Lines of different processes are only nearly in order, so the search goes
on for ``SLACK`` beyond the point where it has enough. A line is parsed only when its bytes promise something,
so ``skipped`` counts the broken and foreign lines among those that were looked at, not all there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from tsobs_pipelines.logs.files import parse_name
from tsobs_pipelines.logs.levels import NAMES
from tsobs_pipelines.logs.lines import Entry
from tsobs_pipelines.logs.matching import LogQuery
from tsobs_pipelines.logs.packed import Member, covered, members, stream, unpack
from tsobs_pipelines.logs.scanning import SLACK, Scanner, first_stamp

BLOCK_BYTES = 1 << 17
LONGEST_LINE = 16 << 20


@dataclass(frozen=True, slots=True)
class LogResult:
    """``entries`` newest first; ``skipped`` lines could not be read; ``scanned_bytes`` were looked through.

    ``unreadable`` names files that could not be opened or are damaged: what they hold is missing.
    """

    entries: list[Entry]
    skipped: int = 0
    scanned_bytes: int = 0
    unreadable: tuple[str, ...] = field(default=())

    def as_answer(self) -> dict[str, object]:
        """What ``GET /logs/search`` and ``tsobs logs --json`` return."""
        return {
            "count": len(self.entries),
            "entries": self.entries,
            "skipped": self.skipped,
            "unreadable": list(self.unreadable),
        }


def search(directory: Path, query: LogQuery, now: datetime) -> LogResult:
    """The newest entries of the last ``query.hours`` that match.

    Only files of tsobs' own naming directly in ``directory`` are read, never through a link; a directory that
    does not exist yet holds no entries.
    """
    since = query.since(now)
    scanner = Scanner(query, since)
    unreadable: list[str] = []
    first_day = (datetime.fromisoformat(since) - SLACK).date()
    for day in _days(directory):
        if day < first_day or not scanner.may_follow(_end_of(day)):
            break
        name = f"tsobs-{day}.jsonl"
        # The plain file first: packing puts the other one in place before it removes this one.
        with (
            _opened(directory / name, unreadable) as plain,
            _opened(directory / f"{name}.gz", unreadable) as gz,
        ):
            packed = members(gz) if gz is not None else []
            if plain is not None:
                _backwards(scanner, plain, str(day), covered(packed, plain) if packed else 0)
            if packed:
                _packed(scanner, gz or 0, packed, str(day), f"{name}.gz", unreadable)
            elif packed is None and gz is not None:
                _forwards(scanner, gz, str(day))
    return LogResult(scanner.newest.entries(), scanner.skipped, scanner.scanned_bytes, tuple(unreadable))


def _days(directory: Path) -> list[date]:
    try:
        found = {parse_name(name) for name in os.listdir(directory)}  # noqa: PTH208 - names only, and faster
    except FileNotFoundError:
        return []
    return sorted({one[0] for one in found if one is not None}, reverse=True)


def _end_of(day: date) -> str:
    return f"{day}T23:59:59.999999Z"


@contextmanager
def _opened(path: Path, unreadable: list[str]) -> Iterator[int | None]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield None
        return
    except OSError:
        unreadable.append(path.name)
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _backwards(scanner: Scanner, fd: int, day: str, lowest: int) -> None:
    """Look through the part of an open file above ``lowest``, its end first."""
    buffer = bytearray(BLOCK_BYTES)
    end, want = os.fstat(fd).st_size, BLOCK_BYTES
    while end > lowest:
        begin = max(lowest, end - want)
        length = os.preadv(fd, [memoryview(buffer)[: end - begin]], begin)
        if length <= 0:
            return
        first = 0 if begin == lowest else buffer.find(b"\n", 0, length) + 1
        if begin > lowest and first in {0, length}:
            # Not one whole line fits: look at more, up to a length that no record has.
            if want < LONGEST_LINE:
                want *= 2
                buffer = bytearray(want)
                continue
            scanner.skipped += 1
            end = begin
            continue
        scanner.block(buffer, first, length, day, begin)
        oldest = first_stamp(buffer, first, length)
        # The time of another day is that of a foreign line, which says nothing about those before it.
        if oldest is not None and oldest.startswith(day) and not scanner.may_follow(oldest):
            return
        end = begin + first
        if want != BLOCK_BYTES:
            want, buffer = BLOCK_BYTES, bytearray(BLOCK_BYTES)


def _packed(
    scanner: Scanner, fd: int, packed: list[Member], day: str, name: str, unreadable: list[str]
) -> None:
    """Look through members that tsobs packed, the newest first, leaving out those that can't match."""
    wanted = scanner.level_bits(NAMES)
    for member in reversed(packed):
        if not member.levels & wanted or not scanner.may_follow(member.last):
            continue
        try:
            lines = unpack(fd, member)
        except ValueError:
            unreadable.append(f"{name} at {member.start}")
            continue
        scanner.block(lines, 0, len(lines), day, member.source_end - member.raw - (1 << 62))


def _forwards(scanner: Scanner, fd: int, day: str) -> None:
    """Look through a gzip file of any origin: from its beginning, as it can only be read."""
    position, rest = -(1 << 61), b""
    for block in stream(fd, BLOCK_BYTES):
        data = rest + block
        cut = data.rfind(b"\n") + 1
        scanner.block(data, 0, cut, day, position)
        position += cut
        rest = data[cut:]
        if len(rest) > LONGEST_LINE:
            scanner.skipped += 1
            rest = b""
    if rest:
        scanner.block(rest, 0, len(rest), day, position)
