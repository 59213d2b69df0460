"""Temporary folders, removed by the block that created them or, after a kill, by housekeeping.

A folder is locked for as long as its owner lives, and the kernel unlocks it however the owner ends: whoever
gets the lock has found a folder that a killed process left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "tsobs-run-"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder in the system's temporary folder, removed with all it holds when the block ends."""
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_left_behind() -> int:
    """Remove the folders whose owner was killed; how many. Those of other users are left alone."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            continue
        with contextlib.suppress(FileNotFoundError):
            removed += _remove_if_unlocked(folder)
    return removed


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)  # housekeeping was faster than the lock


def _remove_if_unlocked(folder: Path) -> bool:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(lock)
