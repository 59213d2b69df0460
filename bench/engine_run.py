"""Cost of one scheduled run: CPU of all processes above idle, and its duration, compared with stock Dagster.

Both sides run the same assets on the same demo tailnet, one after the other: ``tsobs up`` as it is, and
``dagster dev`` on ``bench/stock.py`` with an instance that nobody configured. CPU is that of the whole tree
of processes, ended ones included (a control group of cgroup v1, so as root).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from bench.harness import Meter, machine, meter, table
from tests.support.ports import free_port
from tests.support.running import ROOT, eventually, running, up_environment
from tests.support.watching import settled

IDLE_S = 40.0
PAUSE_S = 10.0
QUIET_S = 75.0
CYCLE_S = 300

LAUNCH = """mutation($location: String!, $tags: [ExecutionTag!]) {launchRun(executionParams: {
  selector: {repositoryLocationName: $location, repositoryName: "__repository__",
             jobName: "collect_connections"}, executionMetadata: {tags: $tags}}) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
RUN = """query($id: ID!) {runOrError(runId: $id) {... on Run {status creationTime startTime endTime}}}"""

Ask = Callable[..., dict[str, object]]


@dataclass(frozen=True)
class Side:
    """A running Dagster: how to ask it, its code location, its meter."""

    name: str
    ask: Ask
    location: str
    meter: Meter


@dataclass(frozen=True)
class Cost:
    """CPU seconds a run, above idle, and seconds from created to finished and from started to finished."""

    cpu: float
    whole: float
    run: float
    idle_a_minute: float


def launch(side: Side) -> tuple[float, float]:
    """One tick; seconds from its creation and from its start to its end."""
    now = datetime.now(UTC)
    tags = {"dagster/partition": f"{now:%Y-%m-%d}", "tsobs/scheduled_at": now.isoformat()}
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    answer = side.ask(LAUNCH, location=side.location, tags=listed)["launchRun"]
    assert isinstance(answer, dict)
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run = answer["run"]["runId"]

    def ended() -> dict[str, float] | None:
        found = side.ask(RUN, id=run)["runOrError"]
        assert isinstance(found, dict)
        assert found["status"] != "FAILURE", run
        return found if found["status"] == "SUCCESS" else None

    found = eventually(ended, 120, "the run succeeds")
    return found["endTime"] - found["creationTime"], found["endTime"] - found["startTime"]


def measure(side: Side, times: int) -> Cost:
    """Idle first, then runs, each followed by time for what it sets off."""
    launch(side)
    time.sleep(PAUSE_S)
    before = side.meter.seconds()
    time.sleep(IDLE_S)
    idle_rate = (side.meter.seconds() - before) / IDLE_S
    before, started = side.meter.seconds(), time.monotonic()
    walls = []
    for _ in range(times):
        walls.append(launch(side))
        # The queue is looked into at an interval: runs have to be launched at any moment of it.
        time.sleep(PAUSE_S + random.random())  # noqa: S311 - no secret
    spent = side.meter.seconds() - before - idle_rate * (time.monotonic() - started)
    wholes, runs = zip(*walls, strict=True)
    return Cost(spent / times, statistics.median(wholes), statistics.median(runs), idle_rate * 60)


@contextlib.contextmanager
def ours(place: Path) -> Iterator[Side]:
    """``tsobs up``, its history filled, far from the schedule's next tick."""
    with meter("tsobs") as measured:
        measured.join()
        # The history is no matter here, and filling a month of it takes minutes.
        with running(place, TSOBS_START_DATE=f"{datetime.now(UTC).date() - timedelta(days=1)}") as tsobs:
            Meter(measured.group.parent).join()
            eventually(lambda: settled(tsobs, QUIET_S), 600, "the first filling is over")
            wait_for_room(IDLE_S + 14 * PAUSE_S)
            yield Side("tsobs up", tsobs.graphql, "tsobs", measured)


def wait_for_room(seconds: float) -> None:
    """Wait until the 5-minute schedule leaves so much time before its next tick."""
    left = CYCLE_S - time.time() % CYCLE_S
    if left < seconds:
        time.sleep(left + 45)


@contextlib.contextmanager
def stock(place: Path) -> Iterator[Side]:
    """``dagster dev`` as it comes."""
    home, port = place / "home", free_port()
    home.mkdir()
    environment = {**up_environment(place / "var"), "DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "dagster", "dev", "-m", "bench.stock", "-p", str(port)]

    def ask(query: str, **variables: object) -> dict[str, object]:
        url = f"http://127.0.0.1:{port}/graphql"
        answer = httpx.post(url, json={"query": query, "variables": variables}, timeout=60)
        data: dict[str, object] = answer.raise_for_status().json()["data"]
        return data

    def loaded() -> bool:
        with contextlib.suppress(httpx.HTTPError, KeyError):
            return "bench.stock" in str(ask("{repositoriesOrError {... on RepositoryConnection "
                                            "{nodes {location {name}}}}}"))  # fmt: skip
        return False

    with meter("stock") as measured:
        measured.join()
        with (place / "stock.out").open("wb") as sink:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=sink, stderr=sink, start_new_session=True
            )
        Meter(measured.group.parent).join()
        try:
            eventually(loaded, 120, "the code location is loaded")
            time.sleep(PAUSE_S)
            yield Side("dagster dev, stock", ask, "bench.stock", measured)
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):  # once in a while it does not end
                process.wait(60)
            for pid in (measured.group / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            eventually(lambda: not (measured.group / "cgroup.procs").read_text(), 20, "all of it has ended")


def main() -> None:
    """Measure both sides and print the ratio."""
    print(machine())
    costs: list[tuple[str, Cost]] = []
    with tempfile.TemporaryDirectory() as directory:
        for side_of, times in ((ours, 11), (stock, 5)):
            place = Path(directory) / side_of.__name__
            place.mkdir()
            with side_of(place) as side:
                costs.append((side.name, measure(side, times)))
                print(*costs[-1], flush=True)
    rows = [
        (name, f"{c.cpu:.2f}", f"{c.whole:.2f}", f"{c.run:.2f}", f"{c.idle_a_minute:.2f}")
        for name, c in costs
    ]
    header = ("engine", "CPU-s a run, above idle", "created → finished, s", "the run, s", "idle, CPU-s/min")
    print(table(header, rows))
    print(f"\nratio of the CPU a run: {costs[0][1].cpu / costs[1][1].cpu:.3f}")


if __name__ == "__main__":
    main()
