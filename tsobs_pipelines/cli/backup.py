"""``tsobs backup`` and ``tsobs restore``: the state directory and local models."""

from __future__ import annotations

from pathlib import Path

import click
from filelock import FileLock, Timeout

from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.terminal import copying
from tsobs_pipelines.upkeep.backup import BackupError, Copied, back_up, restore, size_below


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
def backup(directory: Path) -> None:
    """Copy state and models into the new DIRECTORY, while tsobs keeps running."""
    settings = load_settings()
    try:
        size = size_below(settings.state_dir, settings.local_models)
        with copying("copying", size) as copied:
            done = back_up(settings.state_dir, settings.local_models, directory, copied)
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{_said(done)} in {directory}")
    for line in _elsewhere(settings):
        click.echo(f"not in it: {line}")


@click.command("restore")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
def restore_backup(directory: Path) -> None:
    """Restore the backup in DIRECTORY; the state directory must not exist yet."""
    settings = load_settings()
    state = settings.state_dir
    try:
        if (state / "up.lock").exists():
            FileLock(state / "up.lock").acquire(timeout=0).lock.release()
        with copying("restoring", size_below(directory)) as copied:
            done = restore(directory, state, settings.local_models, copied)
    except Timeout:
        raise click.ClickException(f"tsobs runs on {state}: end it first") from None
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{_said(done)} in {state}")


def _said(done: Copied) -> str:
    return f"{done.databases} databases, {done.files} files, {done.size / 1e6:.1f} MB"


def _elsewhere(settings: Settings) -> list[str]:
    places = []
    if settings.influx_url is not None:
        places.append("InfluxDB (influx backup)")
    if settings.database_file is None or settings.dagster_database_url is not None:
        places.append("Postgres (pg_dump)")
    if settings.local_models is None:
        places.append(f"models in {settings.models_dir}")
    return places
