"""A run over several days, requested as the UI does, and its result."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import httpx

from tests.support.running import Running, eventually
from tests.support.watching import ENDED, idle, runs

LAUNCH = """mutation($tags: [ExecutionTag!]) {launchRun(executionParams: {
  selector: {repositoryLocationName: "tsobs", repositoryName: "__repository__",
             jobName: "heal_connections"},
  executionMetadata: {tags: $tags}}) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""

PROCESS = """query($id: ID!) {logsForRun(runId: $id) {... on EventConnection {events {
  ... on EngineEvent {message}}}}}"""


def process_of(tsobs: Running, run_id: str) -> int:
    """The process that executes a run; Dagster notes it."""
    found = tsobs.graphql(PROCESS, id=run_id)["logsForRun"]
    return int(re.findall(r"Started process for run \(pid: (\d+)\)", str(found))[0])


def launch_backfill(tsobs: Running, days: int) -> str:
    """Ask for the last days in one run; its id, once it works."""
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


def status_of(tsobs: Running, run_id: str) -> str:
    """What the UI shows; nothing while the webserver is being started again."""
    try:
        return next((str(run["status"]) for run in runs(tsobs) if run["runId"] == run_id), "")
    except httpx.TransportError:
        return ""


def retry_of(tsobs: Running, run_id: str) -> str:
    """The id of the run that tries this one again; nothing while there is none."""
    try:
        return next((str(run["runId"]) for run in runs(tsobs) if run["parentRunId"] == run_id), "")
    except httpx.TransportError:
        return ""


def succeeds(tsobs: Running, run_id: str, seconds: float = 60) -> str:
    """Wait until a run is over and, if it has failed, until its retry has succeeded; how it had ended."""
    ended = eventually(lambda: (now := status_of(tsobs, run_id)) in ENDED and now, seconds, "the run ends")
    if ended == "FAILURE":
        retry = eventually(lambda: retry_of(tsobs, run_id), seconds, "the run is tried again")
        eventually(lambda: status_of(tsobs, retry) == "SUCCESS", 120, "the retry succeeds")
    return str(ended)


def wait_idle(tsobs: Running) -> None:
    """Until nothing runs any more."""
    eventually(lambda: idle(tsobs), 300, "no run is under way")
