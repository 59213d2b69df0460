"""Every process killed in the middle of a run: the run is completed, ticks continue, no process is left.

In the lab because it takes minutes; it needs neither root nor a server.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.backfills import launch_backfill, process_of, retry_of, status_of, succeeds, wait_idle
from tests.support.running import Running, eventually, running
from tests.support.watching import ENDED, runs, tags_of
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

TERMINATE = """mutation($id: String!) {terminateRun(runId: $id) {__typename}}"""
DAYS = 8
ENDS_RUNS = {"run", "code", "fork server"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def tsobs(directory: Path) -> Iterator[Running]:
    with running(directory) as started:
        wait_idle(started)
        yield started


def complete_days(state: Path) -> int:
    """How many of the days that the backfill writes have all their rounds."""
    store = SqlStore(f"sqlite:///{state / 'tsobs.db'}")
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    window = Window.trailing(end, timedelta(days=DAYS - 1))
    counts = store.count_times(CONNECTIONS, window, {"tailnet": "demo"})
    store.close()
    return sum(count == 1440 for count in counts.values())


@pytest.mark.parametrize("victim", ["run", "code", "webserver", "daemon", "api", "logs", "fork server"])
def test_a_killed_process_costs_no_run(tsobs: Running, victim: str) -> None:
    run_id = launch_backfill(tsobs, DAYS)
    pid = process_of(tsobs, run_id) if victim == "run" else tsobs.part(victim)
    before = set(tsobs.descendants())
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    # A run that survives the kill takes as long as it takes.
    ended = succeeds(tsobs, run_id, 60 if victim in ENDS_RUNS else 240)
    print(f"{victim}: {ended}, all done after {time.monotonic() - killed:.0f} s")  # noqa: T201 - for the report
    assert (ended == "FAILURE") is (victim in ENDS_RUNS)
    if victim == "fork server":
        assert before & set(tsobs.descendants()) == {tsobs.process.pid, *(before & tracker(tsobs))}
    wait_idle(tsobs)
    assert complete_days(tsobs.state) == DAYS - 1
    # A run's process closes its files after the run has ended.
    eventually(lambda: not tsobs.processes("run"), 20, "no process of a run is left")


def tracker(tsobs: Running) -> set[int]:
    """The supervisor's child that multiprocessing keeps to remove what killed processes leave in /dev/shm."""
    return {pid for pid in tsobs.descendants() if b"resource_tracker" in command(pid)}


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_run_can_be_terminated_from_the_ui(tsobs: Running) -> None:
    run_id = launch_backfill(tsobs, DAYS)
    assert tsobs.graphql(TERMINATE, id=run_id)["terminateRun"] == {"__typename": "TerminateRunSuccess"}
    asked = time.monotonic()
    ended = eventually(lambda: (now := status_of(tsobs, run_id)) in ENDED and now, 10, "the run has ended")
    print(f"terminated: {ended} after {time.monotonic() - asked:.1f} s")  # noqa: T201 - for the report
    assert ended == "CANCELED"
    wait_idle(tsobs)
    assert not retry_of(tsobs, run_id)


def test_the_ticks_stayed_on_time(tsobs: Running) -> None:
    def ticks() -> list[dict[str, object]]:
        return [run for run in runs(tsobs) if run["jobName"] == "collect_connections"]

    eventually(ticks, 310, "a scheduled run")
    for run in ticks():
        due = datetime.fromisoformat(tags_of(run)["tsobs/scheduled_at"]).timestamp()
        assert float(str(run["creationTime"])) - due < 20


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_does_its_run(directory: Path) -> None:
    place = directory / "supervisor"
    place.mkdir()
    with running(place) as first:
        wait_idle(first)
        run_id = launch_backfill(first, DAYS)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        eventually(lambda: not first.descendants(), 5, "nothing is left")
    with running(place) as second:
        begun = time.monotonic()
        assert succeeds(second, run_id) == "FAILURE"
        print(f"supervisor: done {time.monotonic() - begun:.0f} s after the next start")  # noqa: T201
        wait_idle(second)
        assert complete_days(second.state) == DAYS - 1
