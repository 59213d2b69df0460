"""Retries runs although the code server is briefly unavailable.

Dagster tries to start a retry once. When that falls into the seconds in which the code server is being
started again, it gives the run up for good: a backfill that somebody asked for would stay undone.
"""

from __future__ import annotations

from dagster import DagsterRun
from dagster._core.workspace.context import BaseWorkspaceRequestContext, IWorkspaceProcessContext
from dagster._daemon.auto_run_reexecution import auto_run_reexecution
from tenacity import Retrying, stop_after_delay, wait_fixed

PAUSE_S = 5.0
PATIENCE_S = 180.0
"""Longer than a code server takes to start; what fails for another reason fails then."""


def apply() -> None:
    """Make the daemon of this process retry for a while; launching the same retry twice launches it once."""
    once = auto_run_reexecution.retry_run

    def patiently(
        failed_run: DagsterRun, workspace_context: IWorkspaceProcessContext[BaseWorkspaceRequestContext]
    ) -> None:
        tries = Retrying(stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(PAUSE_S), reraise=True)
        tries(once, failed_run, workspace_context)

    auto_run_reexecution.retry_run = patiently
