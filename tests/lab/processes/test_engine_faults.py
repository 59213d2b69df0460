"""Every process of the engine killed in the middle of a run: the run is finished by somebody, ticks go on.

In the lab because it takes minutes; it needs neither root nor a server.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.running import Running, eventually, running
from tests.support.watching import ENDED, idle, runs, tags_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

LAUNCH = """mutation($tags: [ExecutionTag!]) {launchRun(executionParams: {
  selector: {repositoryLocationName: "tsobs", repositoryName: "__repository__",
             jobName: "heal_connections"},
  executionMetadata: {tags: $tags}}) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
TERMINATE = """mutation($id: String!) {terminateRun(runId: $id) {__typename}}"""


def status_of(tsobs: Running, run_id: str) -> str:
    """What the UI shows; nothing while the webserver is being started again."""
    try:
        return _status_of(tsobs, run_id)
    except httpx.TransportError:
        return ""


def _status_of(tsobs: Running, run_id: str) -> str:
    return next(str(run["status"]) for run in runs(tsobs) if run["runId"] == run_id)


def launch_backfill(tsobs: Running, days: int = 31) -> str:
    """Ask for the last days in one run, as the UI's backfill button does; wait until it works."""
    today = datetime.now(UTC).date()
    tags = [
        {"key": "dagster/asset_partition_range_start", "value": str(today - timedelta(days=days - 1))},
        {"key": "dagster/asset_partition_range_end", "value": str(today)},
    ]
    answer = tsobs.graphql(LAUNCH, tags=tags)["launchRun"]
    assert isinstance(answer, dict)
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id = str(answer["run"]["runId"])
    eventually(lambda: status_of(tsobs, run_id) == "STARTED", 60, "the run has started")
    return run_id


def wait_idle(tsobs: Running) -> None:
    """Until nothing runs any more."""
    eventually(lambda: idle(tsobs), 240, "no run is under way")


@pytest.fixture(scope="module")
def tsobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("faults")) as started:
        wait_idle(started)
        yield started


@pytest.mark.parametrize("victim", ["worker", "pool process", "daemon", "code server", "webserver"])
def test_a_killed_process_costs_no_run(tsobs: Running, victim: str) -> None:
    pid = {
        "worker": lambda: tsobs.part("engine.worker", "backfills"),
        "pool process": lambda: tsobs.pool_process("backfills"),
        "daemon": lambda: tsobs.part("engine.daemon"),
        "code server": lambda: tsobs.part("api grpc"),
        "webserver": lambda: tsobs.part("tsobs_pipelines.webserver"),
    }[victim]()
    # Who survives the kill has to finish it in time, on a busy machine too.
    run_id = launch_backfill(tsobs, days=10)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    status = eventually(
        lambda: (now := status_of(tsobs, run_id)) in ENDED and now,
        60,
        f"the run ends after the {victim} died",
    )
    print(f"{victim}: {status} {time.monotonic() - killed:.0f} s after the kill")  # noqa: T201 - for the report
    if status == "FAILURE":
        retry = eventually(
            lambda: next((run for run in runs(tsobs) if run["parentRunId"] == run_id), None),
            60,
            "the run is tried again",
        )
        eventually(lambda: status_of(tsobs, str(retry["runId"])) == "SUCCESS", 90, "the retry succeeds")
    wait_idle(tsobs)


def test_a_run_can_be_terminated_from_the_ui(tsobs: Running) -> None:
    run_id = launch_backfill(tsobs)
    pool = tsobs.pool_process("backfills")
    answer = tsobs.graphql(TERMINATE, id=run_id)["terminateRun"]
    assert answer == {"__typename": "TerminateRunSuccess"}
    asked = time.monotonic()
    ended = eventually(lambda: (now := status_of(tsobs, run_id)) in ENDED and now, 30, "the run has ended")
    print(f"terminated: {ended} after {time.monotonic() - asked:.1f} s")  # noqa: T201 - for the report
    assert ended == "CANCELED"
    wait_idle(tsobs)
    assert not [run for run in runs(tsobs) if run["parentRunId"] == run_id], "it is not tried again"
    assert tsobs.pool_process("backfills") == pool, "the process goes on with other runs"


def test_the_ticks_stayed_on_time(tsobs: Running) -> None:
    def ticks() -> list[dict[str, object]]:
        return [run for run in runs(tsobs) if run["jobName"] == "collect_connections"]

    eventually(ticks, 310, "a scheduled run")
    for run in ticks():
        due = datetime.fromisoformat(tags_of(run)["tsobs/scheduled_at"]).timestamp()
        assert float(str(run["creationTime"])) - due < 20
