"""``tsobs completion``: the script that lets a shell complete tsobs's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL: eval "$(tsobs completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has all three
    command = click.get_current_context().find_root().command
    click.echo(kind(command, {}, "tsobs", "_TSOBS_COMPLETE").source())
