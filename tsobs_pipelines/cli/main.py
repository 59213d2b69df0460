"""The ``tsobs`` command: the group and ``up``; each other sub-command is in a module of this package."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

import click

from tsobs_pipelines.settings import SettingsError, load_settings

_SUB_COMMANDS = {
    "alerts": ("alerts", "alerts"),
    "backup": ("backup", "backup"),
    "completion": ("completion", "completion"),
    "doctor": ("doctor", "doctor"),
    "logs": ("logs", "logs"),
    "mute": ("alerts", "mute"),
    "restore": ("backup", "restore_backup"),
    "run": ("run", "run"),
    "settings": ("settings", "show_settings"),
    "status": ("status", "status"),
}
"""The module of each sub-command and its name there; imported when it is used.

``tsobs up`` lives for months, and what the others import would be 17 MB of it.
"""


class Commands(click.Group):
    """The group: a bad setting ends a command with one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo(f"tsobs: {error}", err=True)
            sys.exit(2)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, for the help."""
        return sorted([*super().list_commands(ctx), *_SUB_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The sub-command of this name; None when there is none."""
        if cmd_name not in _SUB_COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = _SUB_COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"tsobs_pipelines.cli.{module}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tsobs", message=f"%(prog)s %(version)s, Dagster {version('dagster')}")
def main() -> None:
    """Watch a Tailscale network and a price forecast."""


@main.command()
def up() -> None:
    """Start Dagster and the API, and supervise them until Ctrl-C."""
    settings = load_settings()
    from tsobs_pipelines.processes.up import run_up  # noqa: PLC0415 - other commands start nothing

    run_up(settings)
