"""Looks into the queue of runs twice a second.

Dagster takes whole seconds for that interval, and its loop waits in steps of half a second: with the shortest
setting, a run waits up to a second although nothing else is under way.
"""

from __future__ import annotations

from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

INTERVAL_S = 0.4
"""Less than one step of the loop: 0.5 would sometimes be two."""


def apply() -> None:
    """Give the daemon of this process this interval, whatever ``dequeue_interval_seconds`` says."""
    QueuedRunCoordinator.dequeue_interval_seconds = property(lambda _: INTERVAL_S)  # type: ignore[assignment,method-assign]
