"""Disk use by part, and whether enough space is free."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LITTLE_BYTES = 2 * 10**9
"""Less free than this is a warning: days of growth, but a backfill or a model may want it at once."""

TOO_LITTLE_BYTES = 500 * 10**6
"""Less free than this is an error: SQLite needs room to rewrite, and writers of logs stop soon."""

Level = Literal["enough", "little", "too little"]


@dataclass(frozen=True, slots=True)
class Disk:
    """A directory's file system in bytes; ``files_free`` are inodes, ``None`` where there is no limit."""

    path: Path
    total: int
    free: int
    files_free: int | None

    @property
    def level(self) -> Level:
        """Whether there is room; a small disk is judged by its own size."""
        if self._below(TOO_LITTLE_BYTES, 0.02, 1000):
            return "too little"
        return "little" if self._below(LITTLE_BYTES, 0.1, 10_000) else "enough"

    @property
    def summary(self) -> str:
        """One line for a person."""
        share = 100 * self.free / self.total if self.total else 0
        files = "" if self.files_free is None else f", room for {self.files_free} files"
        return (
            f"{self.free / 1e9:.1f} of {self.total / 1e9:.1f} GB ({share:.0f} %) free{files} at {self.path}"
        )

    def _below(self, limit: int, share: float, files: int) -> bool:
        few_files = self.files_free is not None and self.files_free < files
        return few_files or self.free < min(limit, self.total * share)


def disk_of(path: Path) -> Disk:
    """The file system that holds ``path``.

    Raises:
        OSError: there is no such path.
    """
    usage = shutil.disk_usage(path)
    inodes = os.statvfs(path)
    return Disk(path, usage.total, usage.free, inodes.f_favail if inodes.f_files else None)


def sizes(places: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """Allocated bytes and number of files below each place; a place that is not there has none.

    A file, such as a SQLite database, is counted with its companions of the same name.
    """
    return {name: _size(place) for name, place in places.items()}


def _size(place: Path) -> tuple[int, int]:
    if place.is_dir():
        return _tree(place)
    found = [path.lstat() for path in place.parent.glob(f"{place.name}*")] if place.parent.is_dir() else []
    return sum(status.st_blocks * 512 for status in found), len(found)


def _tree(directory: Path) -> tuple[int, int]:
    total = count = 0
    pending = [str(directory)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
                continue
            try:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
            count += 1
    return total, count
