"""Dagster's daemon, which reads the code location once: ``python -m tsobs_pipelines.engine.daemon``.

What belongs here: when the daemon reads its code location. What does not: its loops, which are Dagster's and
take their settings from ``dagster.yaml``, a clock that is set back (``clock.py``), retries (``retries.py``),
and runs that will not start (``starting.py``).

Dagster's own command asks the code server every second whether it is still the same one, and reads the whole
location anew every minute, with all that was worked out from it: a third of the daemon's CPU at rest. Here
the daemon asks once a minute, and reads when the server is another one. A server that is away needs no
watch: each tick says so by itself until it is back.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack, suppress
from pathlib import Path

import click
from dagster import DagsterInstance
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._core.workspace.workspace import CodeLocationEntry
from dagster._daemon.controller import (
    DagsterDaemonController,
    create_daemon_grpc_server_registry,
    create_daemons_from_instance,
)
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers
from dagster._utils.log import configure_loggers

from tsobs_pipelines.engine.clock import outlive_a_step_back
from tsobs_pipelines.engine.migrations import read_migrations_once
from tsobs_pipelines.engine.retries import retry_patiently
from tsobs_pipelines.engine.starting import look_at_starting_runs


class Workspace(WorkspaceProcessContext):
    """The code location of the daemon."""

    def refresh_workspace(self) -> None:
        """Read the location anew if its server is another one; the controller calls this once a minute."""
        entries = self.get_current_workspace().code_location_entries.values()
        if any(_outdated(entry) for entry in entries):
            super().refresh_workspace()

    def _start_watch_thread(self, origin: GrpcServerCodeLocationOrigin) -> None:
        """None: see the module's text."""


def _outdated(entry: CodeLocationEntry) -> bool:
    location = entry.code_location
    if not isinstance(location, GrpcServerCodeLocation):
        return True
    try:
        return bool(location.client.get_server_id() != location.server_id)
    except DagsterUserCodeUnreachableError:
        return False


@click.command()
@click.option("--workspace", type=click.Path(path_type=Path), required=True, help="Dagster's workspace file.")
@click.option("--log-level", default="info", show_default=True)
@click.option("--log-format", type=click.Choice(["colored", "json", "rich"]), default="colored")
def main(workspace: Path, log_level: str, log_format: str) -> None:
    """Run the loops of Dagster's daemon until told to stop."""
    read_migrations_once()
    setup_interrupt_handlers()
    outlive_a_step_back()
    retry_patiently()
    look_at_starting_runs()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        stack.enter_context(capture_interrupts())
        instance = stack.enter_context(DagsterInstance.get())
        registry = stack.enter_context(create_daemon_grpc_server_registry(instance, "WARNING"))
        loops = [stack.enter_context(loop) for loop in create_daemons_from_instance(instance)]
        location = Workspace(instance, WorkspaceFileTarget([str(workspace)]), grpc_server_registry=registry)
        stack.enter_context(location)
        configure_loggers(handler="default", formatter=log_format, log_level=log_level.upper())
        # What was read lives as long as the process; a full collection need not look through it.
        gc.freeze()
        controller = DagsterDaemonController(location, loops, grpc_server_registry=registry)
        stack.enter_context(controller).check_daemon_loop()


if __name__ == "__main__":
    main()
