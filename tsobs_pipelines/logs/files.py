"""The log file of a UTC day: many processes append to it without losing or interleaving lines.

Each record is one ``write`` to a file opened for appending, and its own time chooses the day, so that there
is no moment of rotation. A writer holds a shared lock during its write and checks that the file still has its
name. Whoever compresses or deletes a day takes the lock exclusively, so that no record goes to a deleted
file. A line that a killed process left incomplete is ended by the next writer.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import sys
import threading
import time
import weakref
from datetime import date
from pathlib import Path

from tsobs_pipelines.logs.encoding import LineEncoder
from tsobs_pipelines.logs.formatter import JSONFormatter, default_redactor, instant_of
from tsobs_pipelines.settings import settings_of_process

COMPLAIN_EVERY_S = 60.0
_FILED = "_tsobs_filed"
_NAME = re.compile(r"tsobs-(\d{4}-\d\d-\d\d)\.jsonl(\.gz)?")


def log_directory(state_dir: Path) -> Path:
    """Where the logs are, below the state directory."""
    return state_dir / "logs"


def day_of(created: float) -> str:
    """The UTC day of an instant (seconds since 1970), as ``2026-11-24``."""
    return "{:04d}-{:02d}-{:02d}".format(*time.gmtime(created))


def parse_name(name: str) -> tuple[date, bool] | None:
    """The day of a log file and whether it is packed; None for the name of anything else."""
    found = _NAME.fullmatch(name)
    try:
        return (date.fromisoformat(found[1]), found[2] is not None) if found else None
    except ValueError:
        return None


class DayFiles:
    """The day files of one directory, as a process writes them. Safe across threads, forks and processes."""

    def __init__(self, directory: Path, suffix: str = ".jsonl") -> None:
        self._directory = directory
        self._suffix = suffix
        self._lock = threading.Lock()
        self._day = ""
        self._fd = -1
        _every.add(self)

    def append(self, day: str, data: bytes) -> None:
        """Append ``data``, whole lines, to the file of ``day``. When this returns, the kernel has them.

        Raises:
            OSError: they could not be written; nothing of them is left in the file.
        """
        with self._lock:
            while not self._append_locked(day, data):
                self._close()

    def close(self) -> None:
        """Give the file back; the next record opens it again."""
        with self._lock:
            self._close()

    def after_fork(self) -> None:
        """In a child: a lock belongs to the open file, which must not be shared with the parent."""
        self._lock = threading.Lock()
        self._close()

    def _append_locked(self, day: str, data: bytes) -> bool:
        if day != self._day or self._fd < 0:
            self._open(day)
        fd = self._fd
        fcntl.flock(fd, fcntl.LOCK_SH)
        try:
            status = os.fstat(fd)
            if status.st_nlink == 0:
                return False
            if _ends_torn(fd, status.st_size):
                data = b"\n" + data
            written = os.write(fd, data)
            if written != len(data):
                _take_back(fd, written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
        return True

    def _open(self, day: str) -> None:
        self._close()
        path = self._directory / f"tsobs-{day}{self._suffix}"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags, 0o640)
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._fd = os.open(path, flags, 0o640)
        self._day = day

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _ends_torn(fd: int, size: int) -> bool:
    """Whether the file ends within a line. One that grows meanwhile does not: that is another's write."""
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return False
    return os.fstat(fd).st_size == size and os.pread(fd, 1, size - 1) != b"\n"


def _take_back(fd: int, written: int) -> None:
    """Remove the part of a record that fitted on a full disk, unless something follows it already."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        end = os.lseek(fd, 0, os.SEEK_CUR)
        if os.fstat(fd).st_size == end:
            os.ftruncate(fd, end - written)
    except OSError:
        return


_every: weakref.WeakSet[DayFiles] = weakref.WeakSet()
_shared: dict[tuple[Path, str], DayFiles] = {}


def _after_fork() -> None:
    for files in list(_every):
        files.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def day_files(directory: Path, suffix: str = ".jsonl") -> DayFiles:
    """The one writer of this process for a directory: each of Dagster's runs makes handlers of its own."""
    key = (Path(os.path.abspath(directory)), suffix)  # noqa: PTH100 - links in it are kept
    return _shared.setdefault(key, DayFiles(*key))


class DayFileHandler(logging.Handler):
    """Writes each record to the file of its UTC day. Never raises, also when the disk is full.

    A record that reaches the files by several ways (its logger is one that Dagster manages, say) is written
    by the first of them only.
    """

    def __init__(
        self, directory: str | Path | None = None, level: int | str = logging.NOTSET, suffix: str = ".jsonl"
    ) -> None:
        super().__init__(level)
        if directory is None:
            directory = log_directory(settings_of_process().state_dir)
        self._files = day_files(Path(directory), suffix)
        self._mark = f"{_FILED}_{id(self._files)}"
        self._lost = 0
        self._complained = float("-inf")

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 - the standard library's name
        """Set the formatter; JSON without one."""
        self.formatter = fmt

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if self._mark in record.__dict__:
            return
        try:
            if self.formatter is None:
                self.formatter = JSONFormatter()
            data = self.formatter.format(record).encode("utf-8", "backslashreplace") + b"\n"
            created = instant_of(record)
            self._files.append(day_of(created), data)
            record.__dict__[self._mark] = True
            if self._lost:
                self._own_up(created)
        except OSError as error:
            self._complain(error)
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)

    def _complain(self, error: OSError) -> None:
        self._lost += 1
        now = time.monotonic()
        if now - self._complained >= COMPLAIN_EVERY_S and sys.stderr is not None:
            self._complained = now
            try:
                sys.stderr.write(
                    f"tsobs: can't write the log ({error.strerror}); {self._lost} records lost\n"
                )
            except (OSError, ValueError):
                return

    def _own_up(self, created: float) -> None:
        lost, self._lost = self._lost, 0
        line = LineEncoder(default_redactor()).line(
            created, "WARNING", __name__, "log records were lost", ("files", "emit", 0), {"lost": lost}
        )
        self._files.append(day_of(created), line.encode() + b"\n")
