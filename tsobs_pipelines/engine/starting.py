"""Runs that were launched and will never start, which Dagster's run monitoring does not look for.

What belongs here: one more question to a run that is STARTING. What does not: how the launcher answers it
(``launcher.py``).

Run monitoring asks the launcher how a run's worker is only once the run is STARTED. One whose process died a
moment earlier, or whose message is gone, would be left alone until the start timeout, which is as long as the
longest wait in the queue may be: an hour.
"""

from __future__ import annotations

import logging
import time

from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.storage.dagster_run import RunRecord
from dagster._daemon.monitoring import run_monitoring

from tsobs_pipelines.engine.launcher import RunLauncher


def look_at_starting_runs() -> None:
    """Let this process's run monitoring end them, so that they are tried again."""
    by_dagster = run_monitoring.monitor_starting_run

    def monitor_starting_run(
        instance: DagsterInstance, run_record: RunRecord, logger: logging.Logger
    ) -> None:
        if not end_if_dead(instance, run_record, logger):
            by_dagster(instance, run_record, logger)

    run_monitoring.monitor_starting_run = monitor_starting_run


def end_if_dead(instance: DagsterInstance, record: RunRecord, logger: logging.Logger) -> bool:
    """Mark the run as failed if it will never start; whether it was."""
    run, launcher = record.dagster_run, instance.run_launcher
    if run.status != DagsterRunStatus.STARTING or not isinstance(launcher, RunLauncher):
        return False
    reason = launcher.why_never(run, time.monotonic())
    if reason is None:
        return False
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.status != DagsterRunStatus.STARTING:
        return False  # It started, or ended, meanwhile.
    logger.info("%s: %s", run.run_id, reason)
    instance.report_run_failed(now, reason)
    return True
