"""The manifest of a backup: each file's name, size and SHA-256, written when everything has been copied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from tsobs_pipelines.upkeep.copying import MODELS, STATE, Advance, BackupError, shown

MANIFEST = "manifest.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a backup; ``name`` is relative to the backup and begins with ``state/`` or ``models/``."""

    name: str
    size: int
    sha256: str


def write_manifest(backup: Path) -> tuple[Entry, ...]:
    """Write what is below ``backup`` into its manifest, read anew from the disk.

    Raises:
        OSError: a file can't be read, or the manifest can't be written.
    """
    entries = tuple(Entry(name, *_size_and_sha256(backup / name)) for name in names_below(backup))
    content = {"version": _VERSION, "files": [asdict(entry) for entry in entries]}
    temporary = backup / f"{MANIFEST}.new"
    temporary.write_text(json.dumps(content, indent=1), "utf-8")
    temporary.replace(backup / MANIFEST)
    return entries


def names_below(backup: Path) -> list[str]:
    """The regular files of a backup, sorted."""
    found = [path for part in (STATE, MODELS) for path in (backup / part).rglob("*")]
    return sorted(str(path.relative_to(backup)) for path in found if path.is_file() and not path.is_symlink())


def read_manifest(backup: Path) -> tuple[Entry, ...] | None:
    """What the manifest says; ``None`` for a backup from before there were manifests.

    Raises:
        BackupError: it is not a manifest of this version.
        OSError: it can't be read.
    """
    file = backup / MANIFEST
    try:
        content = json.loads(file.read_bytes())
        if content["version"] != _VERSION:
            raise BackupError(f"{shown(file)}: expected version {_VERSION}: this tsobs is older than it")
        return tuple(_entry(item) for item in content["files"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise BackupError(f"{shown(file)}: damaged ({type(error).__name__})") from error


def _entry(item: dict[str, object]) -> Entry:
    name, size, sha256 = item["name"], item["size"], item["sha256"]
    if not isinstance(name, str) or not isinstance(size, int) or not isinstance(sha256, str):
        raise TypeError
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or len(parts) < 2 or parts[0] not in {STATE, MODELS}:
        raise ValueError
    return Entry(name, size, sha256)


def check_entries(backup: Path, entries: Iterable[Entry], read: Advance) -> None:
    """Compare each file with its entry.

    Raises:
        BackupError: one is missing or differs.
        OSError: one can't be read.
    """
    for entry in entries:
        path = backup / entry.name
        if path.is_symlink() or not path.is_file():
            raise BackupError(f"{shown(path)}: missing, and {MANIFEST} names it")
        size = path.stat().st_size
        if size != entry.size:
            raise BackupError(f"{shown(path)}: damaged ({size} bytes, expected {entry.size})")
        if _size_and_sha256(path)[1] != entry.sha256:
            raise BackupError(f"{shown(path)}: damaged (its SHA-256 is not the one in {MANIFEST})")
        read(size)


def _size_and_sha256(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
