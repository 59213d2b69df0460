"""Removes files that nobody needs any more, by age.

What belongs here: folders of many small files. What does not: logs, which are packed first (``logs/``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

BROKER_RETENTION = timedelta(days=2)
"""Messages that were taken and results of tasks: several times as long as any run may take."""


def remove_older(folders: Iterable[Path], before: datetime) -> int:
    """Remove the regular files right in these folders that were last put there before then; how many.

    What counts is the time of the change of the directory entry: moving a file here makes it new.
    """
    removed = 0
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            try:
                status = path.lstat()
                if path.is_symlink() or not path.is_file() or status.st_ctime >= before.timestamp():
                    continue
                path.unlink()
            except FileNotFoundError:
                continue
            removed += 1
    return removed
