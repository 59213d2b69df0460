"""Reads small files that somebody wrote by hand: bounded, and never a pipe or a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def small_file(path: Path, most: int) -> bytes:
    """The content of a file that somebody wrote by hand.

    Raises:
        OSError: it can't be read.
        ValueError: it has more than ``most`` bytes, or is a pipe or a device, which may never end.
    """
    # Opening a pipe that nobody writes to would wait.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            msg = "not a regular file"
            raise ValueError(msg)
        content = os.read(fd, most + 1)
    finally:
        os.close(fd)
    if len(content) > most:
        msg = f"more than {most} bytes"
        raise ValueError(msg)
    return content
