"""Runs that have ended and do not look like it.

What belongs here: the moment between a run's last event and its status. What does not: runs that were cut off
before (``reaper.py``, ``launcher.py``, ``starting.py``).

Dagster writes the event that a run has succeeded first, and the run's status after it. A process that is
killed in between leaves a run that is done and STARTED; called failed, it would alarm people and could not be
tried again, as no step of it has failed.
"""

from __future__ import annotations

from dagster import DagsterEventType, DagsterInstance, DagsterRun
from dagster._time import datetime_from_timestamp

_ENDINGS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_CANCELED}
"""Not failures: those have to be reported once more, to be tried again."""


def settle(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Give the run the status that its last event says, if it has ended; whether it has."""
    said = instance.all_logs(run.run_id, of_type=_ENDINGS)
    if not said:
        return False
    event, at = said[-1].get_dagster_event(), datetime_from_timestamp(said[-1].timestamp)
    instance.run_storage.handle_run_event(run.run_id, event, at)
    return True
