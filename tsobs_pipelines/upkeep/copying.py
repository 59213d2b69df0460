"""What backing up and restoring share: places, errors in one line, and copies that overwrite nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import Settings

STATE = "state"
MODELS = "models"
DATABASE = "tsobs.db"
UNFINISHED = ".unfinished"
"""In a backup, and in a state directory: not everything has been copied."""

Advance = Callable[[int], None]
"""Is called with the number of bytes that were copied or read since its last call."""

_BLOCK_BYTES = 1 << 20
OF_VOLUMES = frozenset({"lost+found"})
"""What is in the root of an empty volume."""


class BackupError(RuntimeError):
    """The backup or its restoring can't be done; the text is one line for the person who asked."""


@dataclass(frozen=True, slots=True)
class Places:
    """What is backed up: the state directory, the SQLite database if there is one, and local models."""

    state: Path
    database: Path | None
    models: Path | None

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """The places that the settings name."""
        return cls(settings.state_dir, settings.database_file, settings.local_models)


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied, and the files that could not be, each with the reason."""

    databases: int
    files: int
    size: int
    left_out: tuple[str, ...] = ()


def quiet(_size: int) -> None:
    """Progress is not reported."""


def shown(place: Path) -> str:
    """A path as an error may repeat it."""
    text = str(place)
    return text if text.isprintable() and len(text) <= 200 else shown_value(text, 200)


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turn what the system says about files at or below ``place`` into one line.

    Raises:
        BackupError: anything failed in the block.
    """
    try:
        yield
    except BackupError:
        raise
    except sqlite3.Error as error:
        raise BackupError(f"{shown(place)}: {error}; tsobs doctor names the file that is damaged") from error
    except OSError as error:
        where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else place
        raise BackupError(f"{shown(where)}: {error.strerror or type(error).__name__}") from error
    except (ValueError, RuntimeError) as error:  # a NUL in a name; links that lead to one another
        raise BackupError(f"{shown(place)}: not a path that can be used ({type(error).__name__})") from error


def is_empty(folder: Path) -> bool:
    """Whether nothing is in a directory, or there is none.

    Raises:
        OSError: it is something else, or can't be read.
    """
    try:
        return {path.name for path in folder.iterdir()} <= OF_VOLUMES
    except FileNotFoundError:
        return not folder.is_symlink()


def check_outside(target: Path, sources: Iterable[Path]) -> None:
    """Make sure that nothing is copied into what it is copied from.

    Raises:
        BackupError: it would be.
    """
    for source in sources:
        if target.resolve().is_relative_to(source.resolve()):
            raise BackupError(
                f"{shown(target)}: expected a directory outside of {shown(source)}, which is copied"
            )


def copy_new(source: Path, target: Path, copied: Advance) -> None:
    """Copy a regular file to a place where there is none, for this user alone, with its time.

    Raises:
        OSError: it can't be read or written, or something is there.
    """
    with source.open("rb") as old:
        make_folder(target.parent)
        with open(target, "xb", opener=_private) as new:
            while block := old.read(_BLOCK_BYTES):
                new.write(block)
                copied(len(block))
        found = os.fstat(old.fileno())
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def make_folder(folder: Path) -> None:
    """Make a directory and those above it, where there are none, for this user alone."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def check_database(path: Path) -> None:
    """Make sure that a SQLite file that nobody writes is whole.

    Raises:
        BackupError: it is not.
    """
    if path.stat().st_size == 0:
        raise BackupError(f"{shown(path)}: damaged (empty)")
    try:
        place = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(place, uri=True)) as connection:
            whole = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupError(f"{shown(path)}: {error}") from error
    if whole != "ok":
        raise BackupError(f"{shown(path)}: damaged ({' '.join(str(whole).split())})")
