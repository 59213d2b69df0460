"""Temporary folders that are removed however their owner ends.

A folder is locked for as long as its owner lives, and the kernel unlocks it however the owner ends: whoever
gets the lock has found a folder that is no longer used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "tsobs-run-"


def temporary_directory(state: Path) -> Path:
    """The temporary folder of all processes that ``tsobs up`` starts; ``state`` is the state directory."""
    return state / "tmp"


def use_own_folder() -> None:
    """Make a new folder this process's temporary folder, until it ends.

    :func:`remove_left_behind` removes it afterwards. On a full disk the process keeps the folder it has.
    """
    with contextlib.suppress(OSError):
        folder, _ = _locked_folder()  # the lock is held until the process ends
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder in the system's temporary folder, removed with all it holds when the block ends."""
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_left_behind(place: Path) -> int:
    """Remove this user's folders in ``place`` whose owner has ended; how many."""
    removed = 0
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR((found := folder.lstat()).st_mode) and found.st_uid == os.getuid():
                removed += _remove_if_unlocked(folder)
    return removed


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Until it is locked, somebody else may remove it.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


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
