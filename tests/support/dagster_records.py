"""Ticks, heartbeats and runs as Dagster itself writes them, for what reads its tables without it."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from tests.support import history_contract as history
from tests.support.api_world import NOW
from tsobs_pipelines.api.dagster_records import DagsterRecords, EndedRuns, Tick, TickCount
from tsobs_pipelines.run_tags import TICK_SCHEDULE

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def beat(instance: dg.DagsterInstance, daemon: str, at: datetime, process: str = "newest") -> None:
    """A heartbeat of one of the daemon's loops."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), daemon, process, []))


def tick(
    instance: dg.DagsterInstance,
    name: str,
    at: datetime,
    status: TickStatus = TickStatus.SUCCESS,
    kind: InstigatorType = InstigatorType.SCHEDULE,
) -> None:
    """A tick, and the state of its schedule or sensor if it is the first one."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("tsobs"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, name)
    is_schedule = kind is InstigatorType.SCHEDULE
    data = ScheduleInstigatorData("*/5 * * * *") if is_schedule else SensorInstigatorData()
    state = InstigatorState(origin, kind, InstigatorStatus.DECLARED_IN_CODE, data)
    if instance.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
        instance.add_instigator_state(state)
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=name,
            instigator_type=kind,
            status=status,
            timestamp=at.timestamp(),
            run_ids=[],
            error=SerializableErrorInfo("it broke", [], None) if status is TickStatus.FAILURE else None,
            selector_id=state.selector_id,
        )
    )


def ended_run(
    instance: dg.DagsterInstance,
    started: datetime,
    ended: datetime,
    end: dg.DagsterEventType = dg.DagsterEventType.RUN_SUCCESS,
) -> str:
    """A run of ``summary_job`` that started and ended at these times; its id."""
    job = history.DEFS.resolve_job_def("summary_job")
    run = instance.create_run_for_job(job)
    for kind, at in ((dg.DagsterEventType.RUN_START, started), (end, ended)):
        instance.run_storage.handle_run_event(run.run_id, dg.DagsterEvent(kind.value, job.name), at)
    return run.run_id


def check_records(instance: dg.DagsterInstance, records: DagsterRecords) -> None:
    """What is read is what Dagster wrote, whatever the time zone of its database."""
    assert records.heartbeats() == []
    assert records.newest_ticks() == []
    assert records.ended_runs(NOW - HOUR) == []
    beat(instance, "SENSOR", NOW - HOUR, "predecessor")
    beat(instance, "SCHEDULER", NOW - MINUTE)
    beat(instance, "BACKFILL", NOW)
    assert {(beat.daemon, beat.at) for beat in records.heartbeats()} == {
        ("SCHEDULER", NOW - MINUTE),
        ("BACKFILL", NOW),
    }
    tick(instance, TICK_SCHEDULE, NOW - 2 * HOUR)
    tick(instance, TICK_SCHEDULE, NOW - 10 * MINUTE)
    tick(instance, TICK_SCHEDULE, NOW - 5 * MINUTE, TickStatus.FAILURE)
    for minutes in (70, 2, 1):
        tick(instance, "healing_sensor", NOW - minutes * MINUTE, TickStatus.SKIPPED, InstigatorType.SENSOR)
    assert records.newest_ticks() == [
        Tick(TICK_SCHEDULE, "schedule", "FAILURE", NOW - 5 * MINUTE),
        Tick("healing_sensor", "sensor", "SKIPPED", NOW - MINUTE),
    ]
    assert records.last_success(TICK_SCHEDULE) == NOW - 10 * MINUTE
    assert records.last_success("another_schedule") is None
    assert set(records.tick_counts(NOW - HOUR)) == {
        TickCount(TICK_SCHEDULE, "schedule", "SUCCESS", 1),
        TickCount(TICK_SCHEDULE, "schedule", "FAILURE", 1),
        TickCount("healing_sensor", "sensor", "SKIPPED", 2),
    }
    ended_run(instance, NOW - 3 * HOUR, NOW - 2 * HOUR)
    ended_run(instance, NOW - 10 * MINUTE, NOW - 9 * MINUTE)
    ended_run(instance, NOW - 8 * MINUTE, NOW - 5 * MINUTE)
    ended_run(instance, NOW - 4 * MINUTE, NOW - 3 * MINUTE, dg.DagsterEventType.RUN_FAILURE)
    instance.create_run_for_job(history.DEFS.resolve_job_def("summary_job"))
    assert records.ended_runs(NOW - HOUR) == [
        EndedRuns("summary_job", "FAILURE", 1, 60.0, 60.0),
        EndedRuns("summary_job", "SUCCESS", 2, 120.0, 180.0),
    ]
