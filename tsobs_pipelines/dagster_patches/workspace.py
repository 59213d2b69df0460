"""Dagster's daemon reloads the code location when the code server changes, not every minute.

Dagster's daemon asks the code server every second whether it is still the same one, and reads the whole
location anew every minute, with all that was worked out from it. Here it asks once a minute, and reads when
the server is another one. A server that is away needs no watch: each tick says so by itself until it is back.

The webserver, which asks every second as well, asks every ten.
"""

from __future__ import annotations

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.workspace import CodeLocationEntry
from dagster._daemon import controller
from dagster._grpc import server_watcher

WATCH_EVERY_S = 10
"""A server that was started again is asked meanwhile as the one before: its definitions are the same."""


def apply() -> None:
    """Use :class:`Workspace` in the daemon, and let the webserver's watch rest longer."""
    server_watcher.WATCH_INTERVAL = WATCH_EVERY_S
    controller.WorkspaceProcessContext = Workspace  # type: ignore[attr-defined]


class Workspace(WorkspaceProcessContext):
    """The code location of the daemon."""

    def refresh_workspace(self) -> None:
        """Reload the location if its server is another one; the controller calls this once a minute."""
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
