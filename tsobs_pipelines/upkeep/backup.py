"""Backs up the state directory, the SQLite database and local models while everything runs.

SQLite files are copied with SQLite's own online backup: writers continue, and each copy is consistent. An
event is written to its run's file first and to the index second, so the index is copied before the runs'
files: whatever the index names is there.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from tsobs_pipelines.upkeep.copying import (
    DATABASE,
    MODELS,
    STATE,
    UNFINISHED,
    Advance,
    BackupError,
    Copied,
    Places,
    check_outside,
    copy_new,
    explained,
    is_empty,
    make_folder,
    quiet,
    shown,
)
from tsobs_pipelines.upkeep.integrity import dagster_files
from tsobs_pipelines.upkeep.manifest import write_manifest

_STORAGE = "dagster/storage"
_SHARDS = f"{_STORAGE}/history/runs"
_PLAIN = ("start_date", "dagster/initialised")
_PAGES_AT_ONCE = 4096


def size_to_copy(places: Places) -> int:
    """About how many bytes there are to copy, as far as they can be read."""
    size = 0
    for place in (places.state, places.models):
        for folder, _, names in os.walk(place) if place is not None else ():
            for name in names:
                with contextlib.suppress(OSError):
                    size += Path(folder, name).stat().st_size
    if places.database is not None and not places.database.is_relative_to(places.state.absolute()):
        with contextlib.suppress(OSError):
            size += places.database.stat().st_size
    return size


def back_up(places: Places, target: Path, copied: Advance = quiet) -> Copied:
    """Copy everything into ``target``, which must not exist or be empty.

    Until it is complete it is marked as unfinished. The last step writes a manifest, which a restore
    compares with the files. Of the models only regular files are copied.

    Raises:
        BackupError: there is nothing to copy, the target is in use, or a file can't be read or written.
    """
    with explained(target):
        _check_target(target, places)
        make_folder(target)
        target.chmod(0o700)
        (target / UNFINISHED).touch()
        _copy_state(places, target / STATE, copied)
        left_out = tuple(_copy_models(places.models, target / MODELS, copied)) if places.models else ()
        _make_private(target)
        entries = write_manifest(target)
        (target / UNFINISHED).unlink()
    databases = sum(entry.name.startswith(STATE) and entry.name.endswith(".db") for entry in entries)
    return Copied(databases, len(entries), sum(entry.size for entry in entries), left_out)


def _check_target(target: Path, places: Places) -> None:
    if not places.state.is_dir():
        raise BackupError(f"{shown(places.state)}: no state directory")
    if target.exists() and not target.is_dir():
        raise BackupError(f"{shown(target)}: expected a directory")
    if not is_empty(target):
        raise BackupError(f"{shown(target)}: expected an empty or new directory")
    if target.exists() and target.stat().st_uid != os.getuid():
        raise BackupError(f"{shown(target)}: expected a directory of user {os.getuid()}")
    check_outside(target, [place for place in (places.state, places.models) if place is not None])


def _copy_state(places: Places, target: Path, copied: Advance) -> None:
    state = places.state
    target.mkdir(mode=0o700)
    for path in dagster_files(state / _STORAGE):
        if path.is_file():
            _copy_database(path, target / path.relative_to(state), copied)
    if places.database is not None and places.database.is_file():
        _copy_database(places.database, target / DATABASE, copied)
    for name in (*_PLAIN, *_below(state, "logs")):
        if (state / name).is_file():
            _copy_unless_gone(state / name, target / name, copied)
    for path in _databases_in(state / _SHARDS):
        _copy_database(path, target / _SHARDS / path.name, copied)


def _copy_models(models: Path, target: Path, copied: Advance) -> Iterator[str]:
    """Copy the regular files; what else there is, each with the reason why it is left out."""
    for folder, folders, names in os.walk(models, onerror=_raise):
        for name in sorted([*names, *(one for one in folders if Path(folder, one).is_symlink())]):
            path = Path(folder, name)
            if path.is_file():
                _copy_unless_gone(path, target / path.relative_to(models), copied)
            elif path.is_symlink():
                yield f"{shown(path)}: a link that leads to no file"
            elif path.exists():
                yield f"{shown(path)}: not a regular file"


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error  # a directory that can't be read; one that is gone, or never was, holds nothing


def _make_private(root: Path) -> None:
    """Let nobody but the user read what is below: SQLite makes its files with the user's own mask."""
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o700)
        for name in files:
            Path(folder, name).chmod(0o600)


def _below(state: Path, folder: str) -> Iterator[str]:
    for path in sorted((state / folder).glob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield str(path.relative_to(state))


def _databases_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.glob("*.db") if path.name != "index.db") if folder.is_dir() else []


def _copy_database(source: Path, target: Path, copied: Advance) -> None:
    make_folder(target.parent)
    log = source.with_name(source.name + "-wal")
    if not log.exists() or log.stat().st_size == 0:
        # Most files of runs: nobody writes them any more.
        _copy_unless_gone(source, target, copied)
        if not log.exists() or log.stat().st_size == 0:
            return
        target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as old,
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


def _copy_unless_gone(source: Path, target: Path, copied: Advance) -> None:
    try:
        copy_new(source, target, copied)
    except FileNotFoundError:
        if source.exists():
            raise  # gone meanwhile is fine: housekeeping removes, and packs logs
