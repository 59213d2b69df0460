"""The state directory: made private to its user, checked to be tsobs's own, with the first partition's date.

What is in it otherwise belongs to the logs, the database, the models, and Dagster's home.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import date, timedelta
from pathlib import Path

from tsobs_pipelines.dagster_storage.home import dagster_home
from tsobs_pipelines.logs.files import parse_name
from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import START_DATE_FILE, Settings, SettingsError
from tsobs_pipelines.temporary import remove_left_behind, temporary_directory
from tsobs_pipelines.upkeep.copying import OF_VOLUMES, UNFINISHED

HISTORY = timedelta(days=31)
"""How far before the first start the first partition lies."""

LONGEST_SOCKET = 107
"""How long the path of a Unix socket may be on Linux, in bytes."""

_NEW_DATE = ".start_date-"
_PROBE = ".writable"
_FOLDERS = ("dagster", "logs", "locks", "models", "tmp")
_FILES = (START_DATE_FILE, "tsobs.db", "tsobs.db-wal", "tsobs.db-shm", "up.lock")
_OWN_NAMES = frozenset({*_FOLDERS, *_FILES})
"""What a command before the first start makes in the state directory."""


def prepare_state(settings: Settings, today: date) -> None:
    """Make the state directory, private to its user, and keep the first partition's date in it.

    What this process and those that it becomes write from now on is for their user alone.

    Raises:
        SettingsError: the directory can't be made or written to, or holds something else; the first partition
            lies in the future; there is no directory for the database.
    """
    state = settings.state_dir
    if (length := len(os.fsencode(dagster_home(settings).fork_socket))) > LONGEST_SOCKET:
        raise SettingsError(
            f"TSOBS_STATE_DIR={shown_value(str(state), 300)}: expected a path shorter by "
            f"{length - LONGEST_SOCKET} characters, for the sockets in it"
        )
    _check_start_date(settings, today)
    os.umask(0o077)
    try:
        _take_directory(state)
        _keep_start_date(state, today)
        (state / _PROBE).write_text("", "utf-8")
        (state / _PROBE).unlink(missing_ok=True)  # by another part that starts as well
        dagster_home(settings).root.mkdir(exist_ok=True)
        temporary_directory(state).mkdir(exist_ok=True)
        # Left by runs and commands that were killed.
        for place in (temporary_directory(state), Path(tempfile.gettempdir())):
            remove_left_behind(place)
        # Where tsobs 0.1 before December 2026 kept its run queue; what was under way there is tried again.
        shutil.rmtree(state / "broker", ignore_errors=True)
    except OSError as error:
        raise SettingsError(
            f"TSOBS_STATE_DIR={shown_value(str(state), 300)}: expected a directory that can be written to "
            f"({error.strerror})"
        ) from error
    _check_database_directory(settings)


def _check_start_date(settings: Settings, today: date) -> None:
    if settings.start_date > today:
        given = settings.start_date_override is not None
        source = "TSOBS_START_DATE=" if given else f"{settings.state_dir / START_DATE_FILE}: "
        raise SettingsError(f"{source}{settings.start_date}: expected a date up to today, {today}")


def _check_database_directory(settings: Settings) -> None:
    file = settings.database_file
    if file is not None and not file.parent.is_dir():
        raise SettingsError(
            f"TSOBS_DATABASE_URL={settings.database_url}: expected a file in a directory that exists"
        )


def _keep_start_date(state: Path, today: date) -> None:
    """Write the first partition's date, whole or not at all, unless it is there already."""
    start = state / START_DATE_FILE
    if start.exists():
        return
    fd, name = tempfile.mkstemp(prefix=_NEW_DATE, dir=state)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(f"{today - HISTORY:%Y-%m-%d}\n")
    # The name is absolute: by a relative one the same directory may be reached through another mount.
    (state / Path(name).name).replace(start)


def _take_directory(state: Path) -> None:
    """Make the directory, or make sure that it is tsobs's own or empty; others are left as they are.

    Raises:
        SettingsError: something else is in it.
        OSError: it can't be made or read.
    """
    shown = f"TSOBS_STATE_DIR={shown_value(str(state), 300)}"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (state / UNFINISHED).exists():
        raise SettingsError(f"{shown}: a restore into it did not finish: remove it, and restore again")
    names = {path.name for path in state.iterdir() if not _is_of_a_new_one(path.name)}
    if not _is_own(state, names):
        raise SettingsError(
            f"{shown}: expected a directory of tsobs's own or an empty one, and "
            f"{shown_value(min(names - _OWN_NAMES or names))} is in it"
        )
    for name in names & _OWN_NAMES:
        if name in _FOLDERS and not (state / name).is_dir():
            raise SettingsError(f"{shown}: expected {name} in it to be a directory")
        if name in _FILES and not (state / name).is_file():
            raise SettingsError(f"{shown}: expected {name} in it to be a file")
    # A mounted volume is somebody else's to set up.
    if state.stat().st_uid == os.getuid() and not state.is_mount():
        state.chmod(0o700)


def _is_of_a_new_one(name: str) -> bool:
    """Whether an empty volume has it, or a first start that ended before it was done."""
    return name in {*OF_VOLUMES, _PROBE} or name.startswith(_NEW_DATE)


def _is_own(state: Path, names: set[str]) -> bool:
    """Whether a directory is tsobs's own or empty.

    Before the first start commands make generic names in it (``logs``): then there is a file that only tsobs
    makes, the database or a day of the logs.
    """
    # Asked after the names were listed: another part that starts writes the date before anything else.
    if not names or os.path.lexists(state / START_DATE_FILE):
        return True
    if not names <= _OWN_NAMES:
        return False
    return (state / "tsobs.db").is_file() or any(
        parse_name(path.name) for path in (state / "logs").glob("tsobs-*")
    )
