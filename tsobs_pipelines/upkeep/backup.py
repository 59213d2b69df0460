"""Backs up the state directory while everything runs, and restores it.

SQLite files are copied with SQLite's own online backup: writers continue, and each copy is consistent. An
event is written to its run's file first and to the index second, so the index is copied before the runs'
files: whatever the index names is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

STATE = "state"
MODELS = "models"
UNFINISHED = ".unfinished"

Advance = Callable[[int], None]


def _quiet(_size: int) -> None:
    """The default of ``copied``: progress is not reported."""


_DATABASES = (
    "dagster/storage/history/runs/index.db",
    "dagster/storage/history/runs.db",
    "dagster/storage/schedules/schedules.db",
    "tsobs.db",
)
_SHARDS = "dagster/storage/history/runs"
_PLAIN = ("start_date", "dagster/initialised")
_PAGES_AT_ONCE = 4096


class BackupError(RuntimeError):
    """The backup or its restoring can't be done; the text is one line for the person who asked."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied."""

    databases: int
    files: int
    size: int


def size_below(*places: Path | None) -> int:
    """About how many bytes there are to copy below these directories, as far as they can be read."""
    size = 0
    for place in places:
        for folder, _, names in os.walk(place) if place is not None else ():
            for name in names:
                with contextlib.suppress(OSError):
                    size += Path(folder, name).stat().st_size
    return size


def back_up(state: Path, models: Path | None, target: Path, copied: Advance = _quiet) -> Copied:
    """Copy everything into ``target``, which must not exist or be empty.

    Until it is complete it is marked as unfinished. ``copied`` is called with the number of bytes that
    were copied since its last call.

    Raises:
        BackupError: there is nothing to copy, the target is in use, or a file can't be read or written.
    """
    if not state.is_dir():
        raise BackupError(f"{state}: no state directory")
    _check_target(target, [place for place in (state, models) if place is not None])
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.chmod(0o700)
        (target / UNFINISHED).touch()
        databases = [name for name in _DATABASES if (state / name).is_file()]
        for name in databases:
            _copy_database(state / name, target / STATE / name, copied)
        plain = [name for name in _PLAIN if (state / name).is_file()]
        for name in (*plain, *_below(state, "logs")):
            _copy_file(state / name, target / STATE / name, copied)
        shards = _copy_shards(state, target / STATE, copied)
        if models is not None and models.is_dir():
            _copy_tree(models, target / MODELS, copied)
        _make_private(target)
        (target / UNFINISHED).unlink()
    except sqlite3.Error as error:
        raise BackupError(f"{target}: {error}; tsobs doctor names the file that is damaged") from error
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror}") from error
    files = [path for path in target.rglob("*") if path.is_file()]
    return Copied(len(databases) + shards, len(files), sum(path.stat().st_size for path in files))


def restore(source: Path, state: Path, models: Path | None, copied: Advance = _quiet) -> Copied:
    """Put a backup in place of a state directory that is not there or empty.

    ``copied`` is called with the number of bytes copied since its last call.

    Raises:
        BackupError: the backup is not one or unfinished, a damaged file is in it, or there is something where
            it is to go.
    """
    if not (source / STATE).is_dir() or (source / UNFINISHED).exists():
        raise BackupError(f"{source}: expected a finished backup")
    if state.exists() and any(state.iterdir()):
        raise BackupError(f"{state}: not empty; move it away first, so that nothing is lost")
    for path in (source / STATE).rglob("*.db"):
        if path.parent.name != "runs" or path.name == "index.db":
            _check(path)
    try:
        _copy_tree(source / STATE, state, copied)
        _make_private(state)
        if models is not None and (source / MODELS).is_dir():
            _copy_tree(source / MODELS, models, copied)
    except OSError as error:
        raise BackupError(f"{error.filename or state}: {error.strerror}") from error
    files = [path for path in state.rglob("*") if path.is_file()]
    return Copied(
        sum(path.suffix == ".db" for path in files), len(files), sum(p.stat().st_size for p in files)
    )


def _check_target(target: Path, sources: Iterable[Path]) -> None:
    if target.exists() and not target.is_dir():
        raise BackupError(f"{target}: expected a directory")
    if target.exists() and any(target.iterdir()):
        raise BackupError(f"{target}: expected an empty or new directory")
    if target.exists() and target.stat().st_uid != os.getuid():
        raise BackupError(f"{target}: expected a directory of user {os.getuid()}")
    for source in sources:
        if target.resolve().is_relative_to(source.resolve()):
            raise BackupError(f"{target}: expected a directory outside of {source}, which is copied")


def _make_private(root: Path) -> None:
    """Let nobody but the user read what is below: a copy keeps the modes of what it was made of."""
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o700)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o600)


def _below(state: Path, folder: str) -> Iterator[str]:
    for path in sorted((state / folder).glob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield str(path.relative_to(state))


def _copy_tree(source: Path, target: Path, copied: Advance) -> None:
    def copy(old: str, new: str) -> str:
        made = shutil.copy2(old, new)
        copied(Path(made).stat().st_size)
        return made

    shutil.copytree(source, target, dirs_exist_ok=True, copy_function=copy)


def _copy_shards(state: Path, target: Path, copied: Advance) -> int:
    count = 0
    for path in _databases_in(state / _SHARDS):
        _copy_database(path, target / _SHARDS / path.name, copied)
        count += 1
    return count


def _databases_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.glob("*.db") if path.name != "index.db") if folder.is_dir() else []


def _copy_database(source: Path, target: Path, copied: Advance) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = source.with_name(source.name + "-wal")
    if not log.exists() or log.stat().st_size == 0:
        # Most files of runs: nobody writes them any more.
        _copy_file(source, target, copied)
        if not log.exists() or log.stat().st_size == 0:
            return
        target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        page_size = int(old.execute("PRAGMA page_size").fetchone()[0])
        done = 0

        def progress(_status: int, remaining: int, total: int) -> None:
            nonlocal done
            now = (total - remaining) * page_size
            copied(now - done)
            done = now

        old.backup(new, pages=_PAGES_AT_ONCE, progress=progress)


def _copy_file(source: Path, target: Path, copied: Advance) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        shutil.copy2(source, target)
        copied(target.stat().st_size)
    except FileNotFoundError:
        if source.exists():
            raise  # gone meanwhile is fine: housekeeping removes, and packs logs


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
            whole = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupError(f"{path}: {error}") from error
    if whole != "ok":
        raise BackupError(f"{path}: damaged ({whole})")
