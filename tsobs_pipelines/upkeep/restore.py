"""Puts a backup in place of a state directory, a database and models that are not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    check_database,
    check_outside,
    copy_new,
    explained,
    is_empty,
    make_folder,
    quiet,
    shown,
)
from tsobs_pipelines.upkeep.manifest import check_entries, names_below, read_manifest

_SHARDS = f"{STATE}/dagster/storage/history/runs/"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was found to be whole: where each of its files goes."""

    source: Path
    targets: Mapping[str, Path]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum((self.source / name).stat().st_size for name in self.targets)


def checked_backup(source: Path, places: Places, read: Advance = quiet) -> Backup:
    """Make sure that a backup is whole, and that there is nothing where it is to go.

    With a manifest each file is compared with it. A backup from before there were manifests is checked by
    SQLite alone.

    Raises:
        BackupError: it is no backup, unfinished or damaged, or something would be overwritten.
    """
    with explained(source):
        if not (source / STATE).is_dir() or (source / UNFINISHED).exists():
            raise BackupError(f"{shown(source)}: expected a finished backup")
        entries = read_manifest(source)
        names = [entry.name for entry in entries] if entries is not None else names_below(source)
        targets = _targets(names, places)
        _check_places(source, targets, places)
        if entries is not None:
            check_entries(source, entries, read)
        for name in _databases(names):
            # What SQLite says of a run's file that is as it was copied tells nothing new.
            if entries is None or not name.startswith(_SHARDS) or name == f"{_SHARDS}index.db":
                check_database(source / name)
        return Backup(source, targets)


def restore(backup: Backup, places: Places, copied: Advance = quiet) -> Copied:
    """Copy a backup to its places.

    Until everything is there the state directory is marked as unfinished, and tsobs does not start on it.

    Raises:
        BackupError: a file can't be read or written.
    """
    state = places.state
    with explained(state):
        make_folder(state)
        if not state.is_mount():
            state.chmod(0o700)
        (state / UNFINISHED).touch(mode=0o600)
        for name, target in backup.targets.items():
            copy_new(backup.source / name, target, copied)
        (state / UNFINISHED).unlink()
    return Copied(len(_databases(backup.targets)), len(backup.targets), backup.size)


def _targets(names: Iterable[str], places: Places) -> dict[str, Path]:
    """Where each file of the backup goes; models stay where they are if those of today are elsewhere."""
    targets = {}
    for name in names:
        part, _, below = name.partition("/")
        if below == DATABASE and part == STATE:
            targets[name] = places.database or places.state / DATABASE
        elif part == STATE:
            targets[name] = places.state / below
        elif part == MODELS and places.models is not None:
            targets[name] = places.models / below
    return targets


def _check_places(source: Path, targets: Mapping[str, Path], places: Places) -> None:
    state, database, models = places.state, places.database, places.models
    _check_empty(state)
    check_outside(state, [source])
    if models is not None and any(name.startswith(f"{MODELS}/") for name in targets):
        _check_empty(models)
        check_outside(models, [source])
    if database is not None and f"{STATE}/{DATABASE}" in targets:
        check_outside(database, [source])
        if database.exists() or database.is_symlink():
            raise BackupError(f"{shown(database)}: move it away first, so that nothing is lost")
        if database.parent.resolve() != state.resolve() and not database.parent.is_dir():
            raise BackupError(f"{shown(database.parent)}: expected a directory, for {database.name}")


def _check_empty(place: Path) -> None:
    with explained(place):
        if (place / UNFINISHED).exists():
            raise BackupError(f"{shown(place)}: a restore that did not finish; remove it first")
        if not is_empty(place):
            raise BackupError(f"{shown(place)}: not empty; move it away first, so that nothing is lost")


def _databases(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{STATE}/") and name.endswith(".db")]
