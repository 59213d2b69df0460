"""Compresses the log files of past days, and deletes old ones.

Several callers may run at once, and be killed at any point; writers may still append to an old day. A caller
compresses most of a day without a lock, then takes the file's exclusive lock for the rest, puts the
compressed file in place and deletes the other. If it is killed between these two steps, both exist: the next
caller reads from the compressed file how far it goes, and compresses only what follows.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tsobs_pipelines.logs.files import parse_name
from tsobs_pipelines.logs.packed import LONGEST_MEMBER, MEMBER_BYTES, covered, members, pack, source_of

PACK_AFTER = timedelta(days=1)
LOCK_TIMEOUT_S = 5.0
MOST_BYTES = 2 * 2**30
"""Of all days together."""
LOCK_NAME = ".maintenance.lock"
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one call did. ``waiting`` are days that a writer held on to; ``busy``: another caller is at it."""

    packed: tuple[date, ...] = ()
    removed: tuple[date, ...] = ()
    waiting: tuple[date, ...] = ()
    busy: bool = False


def maintain(directory: Path, now: datetime, retention_days: int, most_bytes: int = MOST_BYTES) -> Maintained:
    """Compress every day that ended at least a day ago; delete days older than ``retention_days``.

    When all days together have more than ``most_bytes``, the oldest are removed as well, today's never.

    Raises:
        OSError: the disk is full or can't be written to; every line is still there.
    """
    if not directory.is_dir():
        return Maintained()
    packed: list[date] = []
    removed: list[date] = []
    waiting: list[date] = []
    today = now.astimezone(UTC).date()
    newest_packed = (now.astimezone(UTC) - PACK_AFTER).date() - timedelta(days=1)
    with _alone(directory) as alone:
        if not alone:
            return Maintained(busy=True)
        for path in sorted(directory.iterdir()):
            found = _kept_day(path)
            if found is None or path.is_symlink() or not path.is_file():
                continue
            day, is_json = found
            if day < today - timedelta(days=retention_days):
                path.unlink(missing_ok=True)
                removed.append(day)
            elif is_json and day <= newest_packed:
                (packed if _pack_day(path) else waiting).append(day)
        removed += _remove_beyond(directory, most_bytes, today)
    return Maintained(tuple(packed), tuple(dict.fromkeys(removed)), tuple(waiting))


def _remove_beyond(directory: Path, most_bytes: int, today: date) -> list[date]:
    """Remove the oldest days until the rest has at most so many bytes; which they were."""
    days = [(found[0], path) for path in directory.iterdir() if (found := _kept_day(path))]
    total = sum(path.stat().st_size for _, path in days)
    removed: list[date] = []
    for day, path in sorted(days):
        if total <= most_bytes or day >= today:
            break
        total -= path.stat().st_size
        path.unlink(missing_ok=True)
        removed.append(day)
    return removed


def _kept_day(path: Path) -> tuple[date, bool] | None:
    """The day of a file that is kept here, and whether it is one that gets packed."""
    found = parse_name(path.name)
    if found is not None:
        return found[0], not found[1]
    text = parse_name(path.name.removesuffix(".log") + ".jsonl") if path.suffix == ".log" else None
    return (text[0], False) if text else None


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        yield False
        return
    try:
        yield True
    finally:
        os.close(fd)


def _pack_day(path: Path) -> bool:
    """Compress one day; False when a writer still held its lock."""
    target = path.with_name(path.name + ".gz")
    temporary = path.with_name(f".{target.name}.new")
    source_fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    out_fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        begin = _start_from(target, out_fd, source_fd)
        name = source_of(source_fd)
        reached = _pack_range(source_fd, out_fd, begin, name, at_end=False)
        if not _lock_alone(source_fd):
            return False
        if reached == 0:
            name = source_of(source_fd)  # what was empty a moment ago may have got its first line
        _pack_range(source_fd, out_fd, reached, name, at_end=True)
        os.fsync(out_fd)
        temporary.replace(target)
        _sync_directory(path.parent)
        # Whoever waits for the lock now sees that the file has lost its name, and opens a new one.
        path.unlink()
        _sync_directory(path.parent)
    finally:
        os.close(source_fd)
        os.close(out_fd)
        temporary.unlink(missing_ok=True)
    return True


def _start_from(target: Path, out_fd: int, source_fd: int) -> int:
    """Begin with what is packed already; returns how much of the source that is."""
    try:
        packed_fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0
    try:
        while data := os.read(packed_fd, _COPY_BYTES):
            _write_all(out_fd, data)
        return covered(members(packed_fd), source_fd)
    finally:
        os.close(packed_fd)


def _pack_range(source_fd: int, out_fd: int, begin: int, name: bytes, *, at_end: bool) -> int:
    """Pack whole lines from ``begin`` to what is now the end; returns where the last of them ended.

    ``at_end`` says that no line can follow: a torn last line is then kept as a line of its own.
    """
    want = MEMBER_BYTES
    while block := os.pread(source_fd, want, begin):
        cut = block.rfind(b"\n") + 1
        last = len(block) < want
        if cut == 0 and not last and want < LONGEST_MEMBER:
            want = min(want * 2, LONGEST_MEMBER)
            continue
        if cut == 0 and last and not at_end:
            break
        if cut == 0 or (last and at_end):
            cut = len(block)
        lines = block[:cut]
        begin += cut
        _write_all(out_fd, pack(lines if lines.endswith(b"\n") else lines + b"\n", name, begin))
        want = MEMBER_BYTES
    return begin


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _lock_alone(fd: int) -> bool:
    """Take the file's lock alone. A writer holds it for microseconds, unless it was stopped."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        else:
            return True


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
