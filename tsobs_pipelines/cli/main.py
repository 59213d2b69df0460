"""The ``tsobs`` command: the group and ``up``; each other sub-command is in a module of this package."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

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


_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Commands(click.Group):
    """The group: a bad setting, or output that can't be written, ends a command with one line."""

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as click has it
        """Run the command line."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            # An error about a file names it.
            if error.filename is not None or error.errno not in _NOT_WRITTEN:
                raise
            with suppress(OSError):
                click.echo(f"tsobs: the output can't be written ({error.strerror})", err=True)
            _drop_output()
            sys.exit(1)

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


def _drop_output() -> None:
    """Let what is still in the buffers go nowhere: the interpreter would fail at it once more as it ends."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


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
