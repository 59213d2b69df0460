"""Makes Dagster's storage, or migrates it to this version of Dagster.

``python -m`` this module does it, in a process whose environment says which storage.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tsobs_pipelines.dagster_storage.home import Home, dagster_environment, dagster_home
from tsobs_pipelines.settings import Settings, SettingsError
from tsobs_pipelines.terminal import waiting
from tsobs_pipelines.upkeep.integrity import check_present, check_whole, dagster_files

_INITIALISE_LOCK = 0x7473_6F62_73
"""Postgres' advisory lock of this name is for whoever initialises Dagster's tables."""


def initialise_instance(settings: Settings) -> None:
    """Create or migrate Dagster's storage, before anything else opens it; once for each version of Dagster.

    Webserver, daemon and workers that start together on an empty directory race in Dagster's migrations.

    Raises:
        SettingsError: the storage can't be used, or the launcher does not accept its configuration.
    """
    home = dagster_home(settings)
    done = home.root / "initialised"
    postgres = settings.dagster_database_url is not None
    state = f"dagster {version('dagster')} on {'Postgres' if postgres else 'SQLite'}\n"
    files = () if postgres else dagster_files(home.storage)
    if done.exists() and done.read_text("utf-8").endswith(state.partition(" on ")[2]):
        check_present(files, done)
    check_whole(files)
    if done.exists() and done.read_text("utf-8") == state and home.pristine.is_dir():
        return
    what = f"preparing Dagster's storage for version {version('dagster')}"
    # In a process of its own: the supervisor lives for months, and needs none of what this imports.
    with waiting(what):
        child = subprocess.run(
            [sys.executable, "-m", "tsobs_pipelines.dagster_storage.initialise"],
            env={**os.environ, **dagster_environment(settings)},
            capture_output=True,
            text=True,
            check=False,
        )
    if child.returncode:
        # SQLAlchemy ends its texts with the statement and a link.
        said = [line for line in child.stderr.splitlines() if line.strip() and line[0] not in "([ "]
        last = said[-1] if said else f"status {child.returncode}"
        plain = re.sub(r"^([\w.]+: )?(\([\w.]+\) )?", "", last)  # without the names of exceptions
        raise SettingsError(f"Dagster can't be set up in {home.root}: {plain[:300]}")
    done.write_text(state, "utf-8")


def _initialise() -> None:
    """Open every part of the storage once, in a process whose environment says which."""
    import dagster as dg  # noqa: PLC0415 - only here

    home, url = Home(Path(os.environ["DAGSTER_HOME"])), os.environ.get("TSOBS_DAGSTER_DATABASE_URL")
    _make_pristine(home.pristine)
    if url is None:
        _make_sqlite(home.storage)
    with _one_at_a_time(url), dg.DagsterInstance.get() as instance:
        with contextlib.redirect_stdout(io.StringIO()):
            instance.upgrade()
        instance.get_runs(limit=1)
        instance.event_log_storage.get_maximum_record_id()
        instance.all_instigator_state()
        try:
            _ = instance.run_launcher
        except dg.DagsterInvalidConfigError as error:
            sys.exit("; ".join(one.message for one in error.errors))


def _make_pristine(place: Path) -> None:
    """Make empty SQLite files there, whole or not at all."""
    new = place.with_suffix(".new")
    for directory in (place, new):
        shutil.rmtree(directory, ignore_errors=True)
    _make_sqlite(new)
    new.rename(place)


def _make_sqlite(place: Path) -> None:
    """Have Dagster make the SQLite files there, and complete what a start that was killed left half made."""
    from dagster._core.storage.sqlite_storage import DagsterSqliteStorage  # noqa: PLC0415 - only here

    storage = DagsterSqliteStorage.from_local(str(place))
    with storage.event_log_storage.index_connection():  # type: ignore[attr-defined]
        pass


@contextlib.contextmanager
def _one_at_a_time(url: str | None) -> Iterator[None]:
    """On a Postgres, machines that start at once would race in Dagster's migrations."""
    if url is None:
        yield
        return
    from sqlalchemy import create_engine, func, select  # noqa: PLC0415 - only here

    with create_engine(url).connect() as connection:
        connection.execute(select(func.pg_advisory_lock(_INITIALISE_LOCK)))
        yield


if __name__ == "__main__":
    _initialise()
