"""Preflight check of the state's SQLite files: with a damaged file tsobs does not start."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tsobs_pipelines.settings import SettingsError

THOROUGH_UP_TO_BYTES = 256 << 20
"""Larger files are opened and read at their root only: a whole look would take longer than the start."""


def dagster_files(storage: Path) -> tuple[Path, ...]:
    """The files without which Dagster has no history; those of single runs come and go."""
    return (
        storage / "history" / "runs.db",
        storage / "history" / "runs" / "index.db",
        storage / "schedules" / "schedules.db",
    )


def check_present(files: Iterable[Path], marker: Path) -> None:
    """Make sure that the files of an instance that was initialised are still there.

    Raises:
        SettingsError: one is gone.
    """
    for file in files:
        if not file.exists():
            raise SettingsError(
                f"{file} is gone: restore it from a backup, or remove {marker} to start with an empty history"
            )


def check_whole(files: Iterable[Path]) -> None:
    """Make sure that each file that exists is a database that can be read.

    Raises:
        SettingsError: one is damaged.
    """
    for file in files:
        trouble = damage(file) if os.path.lexists(file) else None
        if trouble is not None:
            raise SettingsError(
                f"{file} is damaged ({trouble}): restore it from a backup, or move it away with its -wal "
                "and -shm to start without it"
            )


def damage(file: Path) -> str | None:
    """What is wrong with a SQLite file, or ``None``; a file that is only locked is not damaged."""
    if not file.is_file():
        return "not a regular file"
    thorough = file.stat().st_size <= THOROUGH_UP_TO_BYTES
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=5)
    except sqlite3.Error as error:
        return str(error)
    try:
        statement = "PRAGMA quick_check(1)" if thorough else "SELECT count(*) FROM sqlite_master"
        said = connection.execute(statement).fetchone()[0]
    except sqlite3.OperationalError as error:
        return None if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        connection.close()
    return None if not thorough or said == "ok" else str(said).splitlines()[-1]
