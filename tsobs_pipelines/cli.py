"""The ``tsobs`` command.

What belongs here: the group, and ``up``. What does not: the sub-commands of a domain, which live in
``cli_<domain>.py`` and are added here.
"""

from __future__ import annotations

import sys
from typing import Literal

import click

from tsobs_pipelines.cli_alerts import alerts, mute
from tsobs_pipelines.cli_backup import backup, restore_backup
from tsobs_pipelines.cli_doctor import doctor
from tsobs_pipelines.cli_logs import logs
from tsobs_pipelines.cli_run import run
from tsobs_pipelines.cli_settings import show_settings
from tsobs_pipelines.settings import SettingsError, load_settings


class OneLineErrors(click.Group):
    """A group in which a bad setting ends the command with one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo(f"tsobs: {error}", err=True)
            sys.exit(2)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tsobs")
def main() -> None:
    """Watch a Tailscale network and a price forecast."""


@main.command()
def up() -> None:
    """Start Dagster, its run workers and the API, and watch over them until Ctrl-C."""
    settings = load_settings()
    from tsobs_pipelines.engine.up import run_up  # noqa: PLC0415 - other commands need no engine

    run_up(settings)


@main.command()
@click.argument("queue", type=click.Choice(["ticks", "backfills"]))
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Runs at a time.")
def worker(queue: Literal["ticks", "backfills"], processes: int) -> None:
    """Execute Dagster's runs of one queue, here beside those of other machines.

    Needs the Redis and the Postgres of the machine that runs `tsobs up` (TSOBS_BROKER_URL,
    TSOBS_DAGSTER_DATABASE_URL) and the same settings of sidecar and stores, TSOBS_START_DATE among them.
    """
    settings = load_settings()
    from tsobs_pipelines.engine.worker import run_elsewhere  # noqa: PLC0415 - other commands need no engine

    sys.exit(run_elsewhere(settings, queue, processes))


main.add_command(alerts)
main.add_command(mute)
main.add_command(show_settings)
main.add_command(logs)
main.add_command(doctor)
main.add_command(run)
main.add_command(backup)
main.add_command(restore_backup)
