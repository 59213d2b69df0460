"""``tsobs backup`` and ``tsobs restore``: the state directory, the SQLite database and local models."""

from __future__ import annotations

import os
from pathlib import Path

import click
from filelock import FileLock, Timeout

from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.terminal import copying
from tsobs_pipelines.upkeep.backup import back_up, size_to_copy
from tsobs_pipelines.upkeep.copying import BackupError, Copied, Places, explained
from tsobs_pipelines.upkeep.restore import checked_backup, restore

_MOST_NAMED = 10
"""Files that were left out and are named one by one."""


class _Place(click.Path):
    """A path that may not exist; click looks at it all the same, and raises for a NUL."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        try:
            return super().convert(value, param, ctx)
        except ValueError as error:
            raise click.ClickException(f"{os.fspath(value)!r}: not a path that can be used") from error


@click.command()
@click.argument("directory", type=_Place(path_type=Path))
def backup(directory: Path) -> None:
    """Copy state and models into the new DIRECTORY, while tsobs keeps running."""
    settings = load_settings()
    places = Places.of(settings)
    try:
        with copying("copying", size_to_copy(places)) as copied:
            done = back_up(places, directory, copied)
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{_said(done)} in {directory}")
    for line in (*_elsewhere(settings), *_left_out(done)):
        click.echo(f"not in it: {line}")


@click.command("restore")
@click.argument("directory", type=_Place(path_type=Path))
def restore_backup(directory: Path) -> None:
    """Restore the backup in DIRECTORY; the state directory and models must not exist yet."""
    settings = load_settings()
    places = Places.of(settings)
    try:
        _check_ended(places.state)
        with explained(directory):
            size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        with copying("checking", size) as checked:
            found = checked_backup(directory, places, checked)
        with copying("restoring", found.size) as copied:
            done = restore(found, places, copied)
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{_said(done)} in {places.state}")


def _check_ended(state: Path) -> None:
    with explained(state / "up.lock"):
        if (state / "up.lock").is_file():
            try:
                FileLock(state / "up.lock").acquire(timeout=0).lock.release()
            except Timeout:
                raise BackupError(f"tsobs runs on {state}: end it first") from None


def _said(done: Copied) -> str:
    return f"{done.databases} databases, {done.files} files, {done.size / 1e6:.1f} MB"


def _left_out(done: Copied) -> list[str]:
    named = list(done.left_out[:_MOST_NAMED])
    more = len(done.left_out) - len(named)
    return [*named, f"{more} more that are no regular files"] if more else named


def _elsewhere(settings: Settings) -> list[str]:
    places = []
    if settings.influx_url is not None:
        places.append("InfluxDB (influx backup)")
    if settings.database_file is None or settings.dagster_database_url is not None:
        places.append("Postgres (pg_dump)")
    elif not settings.database_file.is_file():
        places.append(f"{settings.database_file}, which is not there yet")
    if settings.local_models is None:
        places.append(f"models in {settings.models_dir}")
    return places
