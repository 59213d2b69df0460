"""Retries each run that failed, although the code server is away or the run's status is still being written.

Dagster tries to start a retry once. When that falls into the seconds in which the code server is being
started again, it gives the run up for good: a backfill that somebody asked for would stay undone.

A run's last event is written some milliseconds before its status. Dagster reads the event once, and does
not retry a run whose status is not failed yet: one looked at in between would stay undone as well.
"""

from __future__ import annotations

from dagster import DagsterInstance, DagsterRun
from dagster._core.workspace.context import BaseWorkspaceRequestContext, IWorkspaceProcessContext
from dagster._daemon.auto_run_reexecution import auto_run_reexecution
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_fixed

PAUSE_S = 5.0
PATIENCE_S = 180.0
"""Longer than a code server takes to start; what fails for another reason fails then."""
STATUS_PAUSE_S = 0.05
STATUS_PATIENCE_S = 5.0
"""Longer than a status takes to be written; one that was never written is the code server's to mend."""


def apply() -> None:
    """Make the daemon of this process wait for both; launching the same retry twice launches it once."""
    once = auto_run_reexecution.retry_run
    decide = auto_run_reexecution.should_retry

    def patiently(
        failed_run: DagsterRun, workspace_context: IWorkspaceProcessContext[BaseWorkspaceRequestContext]
    ) -> None:
        tries = Retrying(stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(PAUSE_S), reraise=True)
        tries(once, failed_run, workspace_context)

    def by_its_last_status(run: DagsterRun, instance: DagsterInstance) -> bool:
        return decide(_ended(run, instance), instance)

    auto_run_reexecution.retry_run = patiently
    auto_run_reexecution.should_retry = by_its_last_status


def _ended(run: DagsterRun, instance: DagsterInstance) -> DagsterRun:
    """The run as it is once its status says that it has ended, or as it is after a while."""
    if run.is_finished:
        return run
    looks = Retrying(
        retry=retry_if_result(lambda found: not found.is_finished),
        stop=stop_after_delay(STATUS_PATIENCE_S),
        wait=wait_fixed(STATUS_PAUSE_S),
        retry_error_callback=_as_it_is,
    )
    return looks(lambda: instance.get_run_by_id(run.run_id) or run)


def _as_it_is(state: RetryCallState) -> DagsterRun:
    assert state.outcome is not None  # noqa: S101 - for the type checker: it has been looked at
    found: DagsterRun = state.outcome.result()
    return found
