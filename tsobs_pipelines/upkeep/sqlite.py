"""Compacts a SQLite file while other processes use it.

SQLite reuses freed pages before it lets the file grow, so a file whose content stays about the same keeps its
size. Only a file with much free space, after a retention was shortened, is worth rewriting: writers wait
meanwhile, for seconds at most, readers do not.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WAIT_S = 30.0
"""How long other writers may keep the file before this gives up until tomorrow."""

WORTH_BYTES = 16 * 1024 * 1024
WORTH_SHARE = 0.25
"""A file is rewritten when so much of it, and so large a share, is free."""

LARGEST_BYTES = 2 * 1024**3
"""A larger file is left alone: rewriting it would keep writers waiting for longer than they do."""

What = Literal["compacted", "checkpointed", "no room", "too large", "busy"]


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of one file; sizes in bytes, its write-ahead log included."""

    path: Path
    what: What
    before: int
    after: int


def compact(path: Path) -> Compacted:
    """Rewrite the file if that is worth it; bring its write-ahead log home in any case.

    Raises:
        sqlite3.Error: the file is damaged, or can't be written.
    """
    before = size_on_disk(path)
    with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as connection:
        try:
            what = _rewrite(connection, path)
            # Readers of an old snapshot hold the log: then it is emptied tomorrow.
            connection.execute("PRAGMA busy_timeout=1000")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise
            what = "busy"
    return Compacted(path, what, before, size_on_disk(path))


def size_on_disk(path: Path) -> int:
    """Bytes of a SQLite file with its write-ahead log, which goes when the last connection is closed."""
    return sum(_size(file) for file in (path, path.with_name(path.name + "-wal")))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _rewrite(connection: sqlite3.Connection, path: Path) -> What:
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    if free * page < WORTH_BYTES or free < pages * WORTH_SHARE:
        return "checkpointed"
    used = (pages - free) * page
    if used > LARGEST_BYTES:
        return "too large"
    # The new content is written beside the old one, and then through the write-ahead log.
    if shutil.disk_usage(path.parent).free < 2 * used + WORTH_BYTES:
        return "no room"
    connection.execute("VACUUM")
    return "compacted"
