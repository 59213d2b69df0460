"""The clock under Dagster's daemon is set back: nothing waits until it has caught up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from tests.support.api_world import NOW
from tests.support.dagster_records import HOUR, MINUTE, tick
from tsobs_pipelines.dagster_patches.clock import forget_the_future

END = """
import threading
from tsobs_pipelines.dagster_patches import clock

clock.LOOK_EVERY_S = 0.01
walls = iter([1000.0, 1000.0, {after}])
clock.end_when_set_back(lambda: next(walls, {after}), lambda: 0.0)
print("watching", flush=True)
threading.Event().wait(3)
"""


def state_of(instance: dg.DagsterInstance, name: str) -> InstigatorState:
    """What Dagster remembers of a schedule or sensor."""
    return next(state for state in instance.all_instigator_state() if state.instigator_name == name)


def remember(
    instance: dg.DagsterInstance, name: str, data: ScheduleInstigatorData | SensorInstigatorData
) -> None:
    """Let Dagster remember this of a schedule or sensor."""
    instance.update_instigator_state(state_of(instance, name).with_data(data))


def times_of(instance: dg.DagsterInstance, name: str) -> list[float]:
    """The times of its ticks, newest first."""
    state = state_of(instance, name)
    return [one.timestamp for one in instance.get_ticks(state.instigator_origin_id, state.selector_id)]


def test_what_lies_in_the_future_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    now = NOW.timestamp()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert forget_the_future(instance, now) == 0
        for name, kind in (("cron", InstigatorType.SCHEDULE), ("sensor", InstigatorType.SENSOR)):
            for at in (NOW - MINUTE, NOW + HOUR):
                tick(instance, name, at, kind=kind)
        tick(instance, "calm", NOW - MINUTE, kind=InstigatorType.SENSOR)
        later = (NOW + HOUR).timestamp()
        remember(instance, "cron", ScheduleInstigatorData("*/5 * * * *", 5.0, later))
        remember(instance, "sensor", SensorInstigatorData(later, "key", 30, "17", later, 5.0, None, later))
        calm = SensorInstigatorData(now - 60, None, 30, "18", now - 60, None, None, now - 60)
        remember(instance, "calm", calm)
        assert forget_the_future(instance, now) == 2
        cron, sensor = (state_of(instance, name).instigator_data for name in ("cron", "sensor"))
        assert cron == ScheduleInstigatorData("*/5 * * * *", 5.0, now)
        assert sensor == SensorInstigatorData(now, "key", 30, "17", now, 5.0, None, now)
        assert state_of(instance, "calm").instigator_data == calm
        assert [times_of(instance, name) for name in ("cron", "sensor", "calm")] == [[now - 60]] * 3
        assert forget_the_future(instance, now) == 0


def watched(after: float, tmp_path: Path) -> int:
    """How a process ends whose clock shows 1,000 s and then this."""
    command = [sys.executable, "-c", END.format(after=after)]
    return subprocess.run(command, cwd=tmp_path, env=dict(os.environ), timeout=60, check=False).returncode


def test_a_process_ends_when_its_clock_is_set_back_by_more_than_a_minute(tmp_path: Path) -> None:
    assert watched(900.0, tmp_path) == -signal.SIGTERM
    assert watched(950.0, tmp_path) == 0
    assert watched(5000.0, tmp_path) == 0
