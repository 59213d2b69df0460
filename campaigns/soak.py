"""Ten thousand short runs through one broker, while workers and their pool processes are killed at random.

``--broker folders`` (with SQLite) or ``--broker redis`` (with Postgres, both the lab's). Two run workers of
one pool process each, started again a second after they died, as ``tsobs up`` does; Dagster's daemon with run
monitoring and run retries; a job of one op, which leaves a mark in a file each time that it is executed. The
kills come from a seeded generator: a pool process, a worker's parent process alone, or a worker as a whole.

As root, for the control groups (cgroup v1) by which CPU is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import redis as redis_client
import yaml
from sqlalchemy import create_engine, text

from bench.harness import Meter, machine, meter, proportional_mb, table
from tests.support.engine_workers import Workers, workers
from tests.support.lab.databases import running_postgres, running_redis
from tests.support.lab.runs import new_run
from tests.support.running import ROOT, children, eventually
from tsobs_pipelines.engine.probes import accepts_on_socket
from tsobs_pipelines.secret_url import clear

QUEUE = "backfills"
BACKLOG = 40
"""So many runs are launched and not finished at a time."""
RESTART_S = 1.0
DRAIN_S = 240.0
"""How long after the last launch the rest may take; what has not ended then is stuck."""
REPORT_EVERY_S = 60.0

_Status = dg.DagsterRunStatus
UNDER_WAY = [_Status.QUEUED, _Status.NOT_STARTED, _Status.STARTING, _Status.STARTED, _Status.CANCELING]


@dataclass
class Worker:
    """One run worker that is started again when it is dead."""

    engine: Workers
    process: subprocess.Popen[bytes]
    dead_since: float | None = None

    def pool(self) -> list[int]:
        """The processes that execute runs, as far as there are any now."""
        try:
            return children(self.process.pid)
        except FileNotFoundError:
            return []

    def look(self, now: float) -> None:
        """Start it again a moment after it died."""
        if self.process.poll() is None:
            self.dead_since = None
        elif self.dead_since is None:
            self.dead_since = now
        elif now - self.dead_since >= RESTART_S:
            self.engine.started.remove(self.process)
            self.process = self.engine.start(QUEUE)
            self.dead_since = None


def kill_one(worker: Worker, chance: random.Random) -> str | None:
    """Kill one of the worker's processes, or all of them; which, or None when there was nothing to kill."""
    what = chance.choice(["pool process", "parent alone", "whole worker"])
    if worker.process.poll() is not None or not (pool := worker.pool()):
        return None
    with contextlib.suppress(ProcessLookupError):
        if what == "pool process":
            os.kill(pool[0], signal.SIGKILL)
        elif what == "parent alone":
            os.kill(worker.process.pid, signal.SIGKILL)
        else:
            os.killpg(worker.process.pid, signal.SIGKILL)
    return what


@dataclass
class Killer:
    """Starts the workers, looks after them and kills them: a thread in the group that measures them."""

    engine: Workers
    cpu: Meter
    chance: random.Random
    every_s: float
    workers: list[Worker] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    killing: bool = True
    _over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """For as long as the block lasts."""
        thread = threading.Thread(target=self._forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _forever(self) -> None:
        # A process begins in the group of the thread that starts it.
        (self.cpu.group / "tasks").write_text(str(threading.get_native_id()))
        self.workers += [Worker(self.engine, self.engine.start(QUEUE)) for _ in range(2)]
        due = time.monotonic() + self.chance.expovariate(1 / self.every_s)
        while not self._over.wait(0.2):
            now = time.monotonic()
            for worker in self.workers:
                worker.look(now)
            if self.killing and now >= due:
                due = now + self.chance.expovariate(1 / self.every_s)
                if (what := kill_one(self.chance.choice(self.workers), self.chance)) is not None:
                    self.kills[what] += 1


@dataclass(frozen=True)
class Soak:
    """The instance under load, its workers and their keeper, and what the processes use."""

    engine: Workers
    killer: Killer
    marks: Path
    workers_cpu: Meter
    daemon_cpu: Meter

    def under_way(self) -> int:
        """Runs that have not ended."""
        return self.engine.instance.get_runs_count(dg.RunsFilter(statuses=UNDER_WAY))

    def memory_mb(self) -> list[float]:
        """PSS of each worker with its pool process; 0 for one that is being started again."""
        found = []
        for worker in self.killer.workers:
            try:
                found.append(proportional_mb([worker.process.pid, *worker.pool()]))
            except (FileNotFoundError, ProcessLookupError):
                found.append(0.0)
        return found

    def launch(self, runs: int, deadline: float) -> int:
        """Launch so many runs, or as many as there is time for; how many."""
        config = {"ops": {"mark": {"config": {"file": str(self.marks)}}}}
        begun = reported = time.monotonic()
        open_runs = launched = 0
        while launched < runs and time.monotonic() < deadline:
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                rate = (launched - open_runs) / (reported - begun)
                memory = " ".join(f"{mb:.0f}" for mb in self.memory_mb())
                print(
                    f"{reported - begun:5.0f} s: {launched} launched, {rate:.2f} a second, "
                    f"{sum(self.killer.kills.values())} kills, workers {memory} MB, "
                    f"load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
            open_runs = self.under_way()
            for _ in range(min(BACKLOG - open_runs, runs - launched)):
                self.engine.launch_configured("marking_job", config, QUEUE)
                launched += 1
            time.sleep(0.5)
        return launched


def start_daemon(engine: Workers) -> None:
    """Start a code server with the tests' jobs, and the daemon: run monitoring and retries need both."""
    state = engine.settings.state_dir
    socket, workspace = state / "code.sock", state / "workspace.yaml"
    workspace.write_text(
        yaml.safe_dump({"load_from": [{"grpc_server": {"socket": str(socket), "location_name": "tests"}}]})
    )
    commands = (
        [
            *("tsobs_pipelines.engine.code", "api", "grpc", "--socket", str(socket)),
            *(
                "--module-name",
                "tests.support.engine_jobs",
                "--attribute",
                "defs",
                "--location-name",
                "tests",
            ),
        ],
        ["tsobs_pipelines.engine.daemon", "--workspace", str(workspace)],
    )
    for number, words in enumerate(commands):
        with (state / f"dagster-{number}.out").open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=dict(engine.environment),
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        engine.started.append(process)
        eventually(lambda: accepts_on_socket(socket), 60, "the code server answers")


@contextlib.contextmanager
def soaking(engine: Workers, seed: int, kill_every_s: float) -> Iterator[Soak]:
    """Everything at work; it has ended when the block ends."""
    with contextlib.ExitStack() as stack:
        workers_cpu, daemon_cpu = stack.enter_context(meter("workers")), stack.enter_context(meter("daemon"))
        stack.callback(_end, engine, (workers_cpu, daemon_cpu))
        daemon_cpu.join()
        start_daemon(engine)
        Meter(daemon_cpu.group.parent).join()
        killer = Killer(engine, workers_cpu, random.Random(seed), kill_every_s)  # noqa: S311 - no secret
        stack.enter_context(killer.at_work())
        yield Soak(engine, killer, engine.settings.state_dir / "marks", workers_cpu, daemon_cpu)


def _end(engine: Workers, meters: Sequence[Meter]) -> None:
    for process in engine.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    groups = [each.group / "cgroup.procs" for each in meters]
    eventually(lambda: not any(group.read_text() for group in groups), 20, "all has ended")


@dataclass(frozen=True)
class Outcome:
    """What became of the runs that were asked for, by what became of their last attempt."""

    first_try: int
    after_retries: Counter[int]
    failed: list[str]
    stuck: list[str]
    executions: Counter[int]
    never_executed: int
    worst_s: float
    slow: int


def outcome(soak: Soak) -> Outcome:
    """Read it from Dagster's records and from the marks."""
    roots: dict[str, list[dg.RunRecord]] = {}
    cursor: str | None = None
    while records := soak.engine.instance.get_run_records(limit=500, cursor=cursor):
        cursor = records[-1].dagster_run.run_id
        for record in records:
            run = record.dagster_run
            roots.setdefault(run.root_run_id or run.run_id, []).append(record)
    marks = Counter(line.split()[0] for line in soak.marks.read_text().splitlines())
    first_try, never = 0, 0
    retries: Counter[int] = Counter()
    failed: list[str] = []
    stuck: list[str] = []
    seconds: list[float] = []
    for root, attempts in roots.items():
        created = min(each.create_timestamp.timestamp() for each in attempts)
        good = [each for each in attempts if each.dagster_run.status == _Status.SUCCESS]
        if good:
            first_try += len(attempts) == 1
            if len(attempts) > 1:
                retries[len(attempts) - 1] += 1
            never += root not in marks
            seconds.append(max(each.end_time or 0.0 for each in good) - created)
            continue
        newest = max(attempts, key=lambda each: each.create_timestamp).dagster_run
        (failed if newest.is_finished else stuck).append(story(soak.engine, newest))
    executions = Counter(marks.values())
    slow = sum(each > 60 for each in seconds)
    return Outcome(first_try, retries, failed, stuck, executions, never, max(seconds, default=0.0), slow)


def story(engine: Workers, run: dg.DagsterRun) -> str:
    """What Dagster knows of a run that was not done."""
    events = [
        f"  {each.timestamp:.3f} {each.dagster_event_type}: {each.message[:160]}"
        for each in engine.instance.all_logs(run.run_id)
    ]
    return "\n".join([f"{run.run_id} {run.status.value} {json.dumps(run.tags)}", *events])


def tree_mb(path: Path) -> float:
    """What a directory holds, in MB."""
    files = (file for file in path.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files) / 1e6


def left_in_broker(engine: Workers) -> str:
    """Messages and results that the broker still has."""
    if engine.settings.broker_url is None:
        root = engine.settings.state_dir / "broker"
        count = {
            name: sum(1 for file in (root / name).rglob("*") if file.is_file())
            for name in ("messages", "taken", "results")
        }
        return f"{json.dumps(count)}, {tree_mb(root):.1f} MB"
    with contextlib.closing(redis_client.Redis.from_url(clear(engine.settings.broker_url))) as client:
        waiting = client.llen(QUEUE)
        taken = sum(client.hlen(key) for key in client.keys("unacked*") if client.type(key) == b"hash")
        memory = client.info("memory")["used_memory"] / 1e6
        return f"{waiting} waiting, {taken} taken, {client.dbsize()} keys, {memory:.1f} MB"


def storage_mb(engine: Workers) -> float:
    """What Dagster's storage takes."""
    url = engine.settings.dagster_database_url
    if url is None:
        return tree_mb(engine.settings.state_dir / "dagster" / "storage")
    database = create_engine(url.get_secret_value())
    with database.connect() as connection:
        size = connection.scalar(text("select pg_database_size(current_database())"))
    database.dispose()
    return float(size or 0) / 1e6


@contextlib.contextmanager
def servers(broker: str) -> Iterator[dict[str, str]]:
    """The settings that name the broker's servers, which run while the block lasts."""
    if broker == "folders":
        yield {}
        return
    with new_run() as run, running_redis(run) as redis, running_postgres(run) as postgres:
        yield {
            "TSOBS_BROKER_URL": redis.url,
            "TSOBS_DAGSTER_DATABASE_URL": postgres.new_database("dagster_soak"),
        }


def report(soak: Soak, launched: int, seconds: float, memory: list[float], own_cpu: float) -> str:
    """The table at the end."""
    found = outcome(soak)
    done = found.first_try + found.after_retries.total()
    several = sum(count for times, count in found.executions.items() if times > 1)
    ended = soak.memory_mb()
    rows = [
        ("runs asked for", launched),
        ("succeeded at the first attempt", found.first_try),
        ("succeeded after 1, 2, 3 retries", ", ".join(str(found.after_retries[n]) for n in (1, 2, 3))),
        ("failed for good", len(found.failed)),
        ("stuck or lost", len(found.stuck)),
        ("executed more than once", several),
        ("succeeded without a mark", found.never_executed),
        ("longest from creation to success, s", f"{found.worst_s:.0f}"),
        ("took more than 60 s", found.slow),
        ("kills", json.dumps(soak.killer.kills)),
        ("runs a second", f"{done / seconds:.2f}"),
        ("CPU a run: workers; daemon and code server; launching, s",
         "; ".join(f"{cpu / launched:.3f}"
                   for cpu in (soak.workers_cpu.seconds(), soak.daemon_cpu.seconds(), own_cpu))),
        ("memory of each worker at the start; at the end, MB PSS",
         f"{', '.join(f'{mb:.0f}' for mb in memory)}; {', '.join(f'{mb:.0f}' for mb in ended)}"),
        ("left in the broker", left_in_broker(soak.engine)),
        ("Dagster's storage, MB", f"{storage_mb(soak.engine):.0f}"),
    ]  # fmt: skip
    lines = [f"not done: {each}" for each in (*found.failed, *found.stuck)]
    return "\n".join([table(("", ""), rows), *lines])


def main() -> None:
    """Run the soak and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=("folders", "redis"), default="folders")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=60, help="Launch no more runs after this time.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-every", type=float, default=20, help="Seconds between two kills on average.")
    chosen = parser.parse_args()
    print(f"{machine()}; {chosen}", flush=True)
    with (
        servers(chosen.broker) as settings,
        tempfile.TemporaryDirectory() as directory,
        workers(Path(directory) / "var", **settings) as engine,
        soaking(engine, chosen.seed, chosen.kill_every) as soak,
    ):
        engine.launch_configured("no_op_job", {}, QUEUE)
        eventually(lambda: not soak.under_way(), 120, "the workers work")
        memory = soak.memory_mb()
        own_cpu, begun = time.process_time(), time.monotonic()
        launched = soak.launch(chosen.runs, begun + chosen.minutes * 60)
        soak.killer.killing = False
        last = time.monotonic()
        while soak.under_way() and time.monotonic() - last < DRAIN_S:
            time.sleep(1)
        seconds = time.monotonic() - begun
        print(report(soak, launched, seconds, memory, time.process_time() - own_cpu), flush=True)


if __name__ == "__main__":
    main()
