"""A small disk that can be filled: a tmpfs of 6 MB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.lab.processes import run


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[Path]:
    """A new disk on ``place`` while the block runs (root)."""
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", place])
    try:
        yield place
    finally:
        run(["umount", "--lazy", place])


def fill(disk: Path) -> Path:
    """Leave not one byte; the file to remove when there is to be room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler
