"""Looks into the queue of runs twice a second, and no further while it is empty.

Dagster takes whole seconds for that interval, and its loop waits in steps of half a second: with the shortest
setting, a run waits up to a second although nothing else is under way. Each look reads the runs in progress
first, which only matter to runs that wait.
"""

from __future__ import annotations

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.instance.config import ConcurrencyConfig
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

INTERVAL_S = 0.4
"""Less than one step of the loop: 0.5 would sometimes be two."""

_QUEUED = RunsFilter(statuses=[DagsterRunStatus.QUEUED])


def apply() -> None:
    """Give the daemon of this process this interval, whatever ``dequeue_interval_seconds`` says."""
    QueuedRunCoordinator.dequeue_interval_seconds = property(lambda _: INTERVAL_S)  # type: ignore[assignment,method-assign]
    choose = QueuedRunCoordinatorDaemon._get_runs_to_dequeue  # noqa: SLF001 - the loop's only step that can be left out

    def choose_if_any(
        daemon: QueuedRunCoordinatorDaemon,
        instance: DagsterInstance,
        concurrency_config: ConcurrencyConfig,
        fixed_iteration_time: float | None,
    ) -> list[DagsterRun]:
        if not instance.get_run_ids(_QUEUED, limit=1):
            return []
        return choose(daemon, instance, concurrency_config, fixed_iteration_time)

    QueuedRunCoordinatorDaemon._get_runs_to_dequeue = choose_if_any  # type: ignore[method-assign,assignment]  # noqa: SLF001
