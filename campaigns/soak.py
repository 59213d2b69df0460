"""Thousands of ticks requested one after the other, while processes are killed at random.

Afterwards each run that was asked for must have succeeded, itself or by a retry; nothing may be under way.
The memory of the fork server and its parts is compared with that at the start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import httpx

from bench.engine_run import LAUNCH
from bench.harness import machine, proportional_mb, table
from campaigns.kills import WEIGHTS, kill_one
from tests.support.backfills import wait_idle
from tests.support.running import Running, running
from tests.support.watching import named_processes
from tsobs_pipelines.dagster_storage.home import dagster_environment
from tsobs_pipelines.settings import load_settings

BACKLOG = 6
"""Runs that wait or work at a time."""

VICTIMS = {name: weight for name, weight in WEIGHTS.items() if name != "supervisor"}
"""Nobody starts the supervisor again here."""

DRAIN_S = 300.0
REPORT_EVERY_S = 60.0

_Status = dg.DagsterRunStatus
UNDER_WAY = [_Status.QUEUED, _Status.NOT_STARTED, _Status.STARTING, _Status.STARTED, _Status.CANCELING]


@dataclass
class Soak:
    """A running tsobs, what was asked of it and who was killed."""

    tsobs: Running
    instance: dg.DagsterInstance
    chance: random.Random
    asked: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    def ask(self) -> None:
        """Ask for one tick; nothing is asked for while the webserver is away."""
        now = datetime.now(UTC)
        tags = {"dagster/partition": f"{now:%Y-%m-%d}", "tsobs/scheduled_at": now.isoformat(), "soak": "yes"}
        listed = [{"key": key, "value": value} for key, value in tags.items()]
        with contextlib.suppress(httpx.HTTPError, KeyError, TypeError):
            answer = self.tsobs.graphql(LAUNCH, location="tsobs", tags=listed)["launchRun"]
            assert isinstance(answer, dict)
            if answer["__typename"] == "LaunchRunSuccess":
                self.asked.append(answer["run"]["runId"])

    def under_way(self) -> int:
        """Runs that have not ended."""
        return self.instance.get_runs_count(dg.RunsFilter(statuses=UNDER_WAY))

    def memory_mb(self) -> dict[str, float]:
        """PSS of each process that is no run, by name."""
        found: dict[str, float] = {}
        for pid, name in named_processes(self.tsobs).items():
            with contextlib.suppress(OSError):
                found[name] = proportional_mb([pid])
        return {name: mb for name, mb in found.items() if name != "run"}

    def work(self, runs: int, deadline: float, kill_every_s: float) -> None:
        """Keep so many runs going, and kill a process now and then."""
        due = time.monotonic() + self.chance.expovariate(1 / kill_every_s)
        reported = time.monotonic()
        while len(self.asked) < runs and (now := time.monotonic()) < deadline:
            if now > due:
                due = now + self.chance.expovariate(1 / kill_every_s)
                if (kill := kill_one(self.chance, self.tsobs, VICTIMS)) is not None:
                    self.kills[kill.name] += 1
            if now - reported > REPORT_EVERY_S:
                reported = now
                said = (
                    f"{len(self.asked)} asked for, {self.kills.total()} kills, load {os.getloadavg()[0]:.1f}"
                )
                print(f"{datetime.now(UTC):%H:%M:%S} {said}, {self.memory_mb()}", flush=True)
            if self.under_way() < BACKLOG:
                self.ask()
            else:
                time.sleep(0.2)

    def verdicts(self) -> Counter[str]:
        """What became of each run that was asked for."""
        return Counter(self._verdict(run_id) for run_id in self.asked)

    def _verdict(self, run_id: str) -> str:
        group = self.instance.get_run_group(run_id)
        attempts: Sequence[dg.DagsterRun] = [] if group is None else list(group[1])
        statuses = [run.status for run in attempts]
        if _Status.SUCCESS in statuses:
            return (
                f"succeeded after {len(statuses) - 1} retries" if len(statuses) > 1 else "succeeded at once"
            )
        return "lost" if any(status not in UNDER_WAY for status in statuses) or not statuses else "stuck"


@contextlib.contextmanager
def instance_of(tsobs: Running) -> Iterator[dg.DagsterInstance]:
    """The instance of a running tsobs."""
    os.environ.update({"TSOBS_STATE_DIR": str(tsobs.state)})
    os.environ.update(dagster_environment(load_settings()))
    with dg.DagsterInstance.get() as instance:
        yield instance


def main() -> None:
    """Soak, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=180, help="ask for no more runs after this time")
    parser.add_argument("--kill-every", type=float, default=30, help="seconds between two kills, in the mean")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(f"{machine()}; {chosen}", flush=True)
    start = f"{datetime.now(UTC).date()}"
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), TSOBS_START_DATE=start) as tsobs,
    ):
        wait_idle(tsobs)
        with instance_of(tsobs) as instance:
            soak = Soak(tsobs, instance, random.Random(chosen.seed))  # noqa: S311 - no secret
            before, begun = soak.memory_mb(), time.monotonic()
            soak.work(chosen.runs, begun + chosen.minutes * 60, chosen.kill_every)
            last = time.monotonic()
            while soak.under_way() and time.monotonic() - last < DRAIN_S:
                time.sleep(1)
            seconds = time.monotonic() - begun
            after, verdicts = soak.memory_mb(), soak.verdicts()
        rows = [
            ("runs asked for", len(soak.asked)),
            *sorted(verdicts.items()),
            ("kills", ", ".join(f"{name} {count}" for name, count in sorted(soak.kills.items()))),
            ("runs a second", f"{len(soak.asked) / seconds:.2f}"),
            *(
                (f"{name}: PSS before, after, MB", f"{before.get(name, 0):.0f}, {after[name]:.0f}")
                for name in after
            ),
            ("all: PSS before, after, MB", f"{sum(before.values()):.0f}, {sum(after.values()):.0f}"),
            ("load at the end", f"{os.getloadavg()[0]:.1f}"),
        ]
        print(table(("", ""), rows), flush=True)


if __name__ == "__main__":
    main()
