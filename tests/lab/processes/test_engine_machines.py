"""A backfill shared by run workers on two machines, with Redis and Postgres between them; one is killed.

The machines are network namespaces with a state directory each. The servers listen on loopback; the hub
passes connections on to them, as a router would.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.support import daemon_turns
from tests.support.daemon_turns import Daemon, daemon
from tests.support.engine_workers import Workers, workers
from tests.support.growing_sidecar import GrowingSidecar
from tests.support.journals import minutes
from tests.support.lab.databases import Postgres, Redis
from tests.support.lab.network import HUB_ADDRESS, Network, star
from tests.support.lab.processes import Server
from tests.support.lab.runs import Run, new_run
from tests.support.running import ROOT, children, eventually
from tests.support.sidecars import served
from tsobs_pipelines.defs.common.partitions import DAYS_A_RUN
from tsobs_pipelines.engine.launcher import RunLauncher
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

DAYS, ROUNDS_A_DAY = 90, 40
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@dataclass
class Machines:
    """What asks for runs and watches them (the daemon's place), and the workers' processes by machine."""

    engine: Workers
    daemon: Daemon
    processes: dict[str, subprocess.Popen[bytes]]
    pools: dict[str, set[int]] = field(default_factory=lambda: {"one": set(), "two": set()})

    def turn(self) -> bool:
        """A turn of the daemon; remembers which processes execute runs where."""
        for name, process in self.processes.items():
            with contextlib.suppress(FileNotFoundError):
                self.pools[name] |= set(children(process.pid))
        self.daemon.turn()
        return True

    def are_ready(self) -> bool:
        """Whether the worker of each machine has its pool process."""
        states = [self.engine.settings.state_dir.parent / name for name in self.processes]
        return all([*(state / "broker" / "workers").glob("*")] for state in states) and all(
            children(process.pid) for process in self.processes.values()
        )

    def have_done(self, backfill_id: str) -> set[str]:
        """The machines that have done runs of the backfill."""
        done = [self.machine_of(run) for run in self.daemon.runs_of(backfill_id) if run.is_success]
        return {name for name in done if name is not None}

    def failed(self, backfill_id: str) -> list[str]:
        """The backfill's runs that have failed."""
        return [run.run_id for run in self.daemon.runs_of(backfill_id) if run.is_failure]

    def machine_of(self, run: dg.DagsterRun) -> str | None:
        """Where a run is or was executed; Dagster notes its process."""
        said = self.engine.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        pids = {
            int(pid) for each in said for pid in re.findall(r"process for run \(pid: (\d+)", each.message)
        }
        return next((name for name, pool in self.pools.items() if pids & pool), None)

    def kill_one_at_work(self, backfill_id: str) -> str:
        """Kill a machine's worker in the middle of a run; the run."""
        return eventually(lambda: self._kill_one_at_work(backfill_id), 60, "a machine is at work")

    def _kill_one_at_work(self, backfill_id: str) -> str | None:
        for run in self.daemon.runs_of(backfill_id):
            name = self.machine_of(run) if run.status == dg.DagsterRunStatus.STARTED else None
            if name is None:
                continue
            group = self.processes[name].pid
            # Held first: the run might have ended before the signal comes.
            os.killpg(group, signal.SIGSTOP)
            if self.engine.status(run.run_id) == "STARTED":
                os.killpg(group, signal.SIGKILL)
                return run.run_id
            os.killpg(group, signal.SIGCONT)
        return None


@contextlib.contextmanager
def passed_on(lab_run: Run, network: Network, name: str, port: int) -> Iterator[None]:
    """Let the hub's ``port`` lead to the machine's own: through a Unix socket, which knows no namespaces."""
    middle = lab_run.directory / f"{name}.sock"
    ends = [
        Server(
            f"{name} outside",
            ["socat", f"UNIX-LISTEN:{middle},fork,mode=600", f"TCP:127.0.0.1:{port}"],
            lab_run.directory / f"{name}-outside.log",
        ),
        Server(
            f"{name} inside",
            network.hub.inside(
                "socat", f"TCP-LISTEN:{port},bind={HUB_ADDRESS},fork,reuseaddr", f"UNIX-CONNECT:{middle}"
            ),
            lab_run.directory / f"{name}-inside.log",
        ),
    ]
    try:
        for end in ends:
            end.start()
        eventually(middle.exists, 10, f"the way to {name}")
        yield
    finally:
        for end in ends:
            end.kill()


@pytest.fixture
def sidecar() -> Iterator[GrowingSidecar]:
    made = GrowingSidecar()
    for age in range(DAYS, 0, -1):
        made.take(minutes(TODAY - timedelta(days=age), ROUNDS_A_DAY))
    with served(made):
        yield made


@pytest.fixture
def machines(redis: Redis, postgres: Postgres, sidecar: GrowingSidecar, tmp_path: Path) -> Iterator[Machines]:
    servers = {
        "TSOBS_BROKER_URL": redis.url,
        "TSOBS_DAGSTER_DATABASE_URL": postgres.new_database("dagster_two_machines"),
        "TSOBS_DATABASE_URL": postgres.new_database("rows_two_machines"),
        "TSOBS_SIDECAR_URL": sidecar.url,
    }
    start = {"TSOBS_START_DATE": f"{TODAY - timedelta(days=DAYS):%Y-%m-%d}"}
    with contextlib.ExitStack() as stack:
        # A run of its own: the session's may have a tailnet, whose hub is another.
        lab_run = stack.enter_context(new_run())
        network = stack.enter_context(star(lab_run, ["one", "two"]))
        for name, port in (
            ("redis", redis.port),
            ("postgres", postgres.port),
            ("sidecar", sidecar.server_port),
        ):
            stack.enter_context(passed_on(lab_run, network, name, port))
        engine = stack.enter_context(workers(tmp_path / "hub", **servers, **start))
        processes = {}
        for name in ("one", "two"):
            environment = {
                **engine.environment,
                **{key: url.replace("127.0.0.1", HUB_ADDRESS) for key, url in servers.items()},
                "TSOBS_STATE_DIR": str(tmp_path / name),
            }
            del environment["DAGSTER_HOME"]
            command = network.hosts[name].inside(sys.executable, "-m", "tsobs_pipelines", "run", "backfills")
            with (tmp_path / f"{name}.out").open("wb") as sink:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=sink, stderr=sink, start_new_session=True
                )
            engine.started.append(process)
            processes[name] = process
        yield Machines(engine, stack.enter_context(daemon(engine.instance)), processes)


def test_a_backfill_is_shared_and_what_a_dead_machine_had_is_done_by_the_other(
    machines: Machines, sidecar: GrowingSidecar
) -> None:
    days = [f"{TODAY - timedelta(days=age):%Y-%m-%d}" for age in range(DAYS, 0, -1)]
    eventually(machines.are_ready, 120, "both machines wait for work")
    asked = machines.daemon.request(daemon_turns.CONNECTIONS, days)
    eventually(
        lambda: machines.turn() and machines.have_done(asked) == {"one", "two"}, 240, "both work on it"
    )
    lost = machines.kill_one_at_work(asked)
    killed = time.monotonic()
    failed = eventually(lambda: machines.turn() and machines.failed(asked), 90, "the silence is noticed")
    assert failed == [lost]
    print(f"noticed {time.monotonic() - killed:.0f} s after the kill")  # noqa: T201 - for the report
    eventually(lambda: machines.turn() and machines.daemon.is_complete(asked), 240, "all of it is done")

    runs = machines.daemon.runs_of(asked)
    assert [run.parent_run_id for run in runs if run.parent_run_id] == [lost]
    assert sum(run.is_success for run in runs) == DAYS / DAYS_A_RUN
    assert machines.failed(asked) == [lost]
    for key in daemon_turns.CONNECTIONS:
        assert machines.engine.instance.get_materialized_partitions(key) == set(days)
    assert stored(machines.engine) == Counter(dict.fromkeys(sidecar.wanted(), 1))

    run_id = machines.engine.launch("sleeping_job", "backfills", seconds=90)
    eventually(lambda: machines.engine.status(run_id) == "STARTED", 30, "a machine is at work")
    assert machines.engine.instance.run_launcher.terminate(run_id)
    eventually(lambda: machines.engine.status(run_id) == "CANCELED", 15, "it ends, across machines")


def test_a_message_that_nobody_has_is_noticed(redis: Redis, tmp_path: Path) -> None:
    with workers(tmp_path / "var", TSOBS_BROKER_URL=redis.url) as engine:
        first, second = (engine.launch("no_op_job") for _ in range(2))
        launcher = engine.instance.run_launcher
        assert isinstance(launcher, RunLauncher)

        def why_never(run_id: str, now: float) -> str | None:
            run = engine.instance.get_run_by_id(run_id)
            assert run is not None
            return launcher.why_never(run, now)

        assert why_never(first, 0) is None
        channel = launcher.celery.connection_for_read().default_channel
        # What a worker does that is killed before it has begun.
        channel.client.rpop("ticks")
        assert why_never(first, 10) is None, "it may just have been taken"
        assert why_never(second, 10) is None
        assert why_never(first, 20) is None
        assert why_never(first, 40) == "The run's message was taken 30 s ago and nobody works on it."
        assert why_never(second, 40) is None
        channel.client.delete("ticks")
        channel.connection.client.close()


def stored(engine: Workers) -> Counter[tuple[object, object]]:
    """How many rows the store has of each round and node."""
    store = SqlStore(engine.environment["TSOBS_DATABASE_URL"])
    rows = store.read(CONNECTIONS, Window(TODAY - timedelta(days=DAYS), TODAY))
    store.close()
    return Counter((row["time"], row["hostname"]) for row in rows)
