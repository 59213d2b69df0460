"""A clock that is set back: unpatched, Dagster's daemon waits until the clock has caught up.

The daemon's loops pause by the wall clock, a sensor waits for its interval after its last tick, a schedule
for what comes after its newest one: set back by an hour, all rest for an hour, the watchers among them.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from dagster import DagsterInstance
from dagster._core.scheduler.instigation import (
    InstigatorState,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage
from dagster._time import datetime_from_timestamp
from sqlalchemy import delete

AHEAD_S = 60.0
"""What is less far ahead passes by itself, and is how clocks are corrected all the time."""

LOOK_EVERY_S = 5.0
END_WITHIN_S = 20.0

log = logging.getLogger(__name__)


def outlive_a_step_back() -> None:
    """Remove times in the future from the records now, and end this process when the clock is set back."""
    with DagsterInstance.get() as instance:
        ahead = forget_the_future(instance, time.time())
    if ahead:
        log.warning("the clock was set back: %d schedules and sensors go on from now", ahead)
    end_when_set_back()


def forget_the_future(instance: DagsterInstance, now: float) -> int:
    """Remove times after ``now`` (epoch seconds) from schedules and sensors; returns how many had one.

    Runs that they asked for stay: a tick whose time comes again finds its run and asks for no second one.
    """
    ahead = [
        corrected
        for state in instance.all_instigator_state()
        if (corrected := _until(state, now)) is not None
    ]
    for state in ahead:
        instance.update_instigator_state(state)
    storage = instance.schedule_storage
    if isinstance(storage, SqlScheduleStorage):
        later = JobTickTable.c.timestamp > datetime_from_timestamp(now + AHEAD_S)
        with storage.connect() as connection:
            connection.execute(delete(JobTickTable).where(later))
    return len(ahead)


def _until(state: InstigatorState, now: float) -> InstigatorState | None:
    """The state with no time after ``now``; ``None`` when it has none."""
    data = state.instigator_data
    limit = now + AHEAD_S
    if isinstance(data, ScheduleInstigatorData):
        if (data.last_iteration_timestamp or 0) <= limit:
            return None
        return state.with_data(data._replace(last_iteration_timestamp=now))
    if not isinstance(data, SensorInstigatorData):
        return None
    times = (data.last_tick_timestamp, data.last_tick_start_timestamp, data.last_tick_success_timestamp)
    if max(at or 0 for at in times) <= limit:
        return None
    ended, begun, succeeded = (at if at is None else min(at, now) for at in times)
    return state.with_data(
        data._replace(
            last_tick_timestamp=ended, last_tick_start_timestamp=begun, last_tick_success_timestamp=succeeded
        )
    )


def end_when_set_back(
    wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
) -> threading.Thread:
    """End this process, from a thread, when the clock is set back; the supervisor restarts it."""

    def watch() -> None:
        before = wall() - steady()
        while True:
            time.sleep(LOOK_EVERY_S)
            offset = wall() - steady()
            if before - offset > AHEAD_S:
                log.warning("the clock was set back by %.0f s: starting again", before - offset)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(END_WITHIN_S)
                os._exit(1)
            before = offset

    thread = threading.Thread(target=watch, name="clock", daemon=True)
    thread.start()
    return thread
