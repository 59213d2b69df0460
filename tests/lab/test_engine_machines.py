"""Run workers on two machines with Redis and Postgres between them; one of them is killed in mid-run.

The machines are network namespaces with a state directory each. The servers listen on loopback; the hub
passes connections on to them, as a router would.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster._core.launcher import WorkerStatus

from tests.e2e.running import ROOT, eventually
from tests.engine_workers import Workers, workers
from tests.lab.databases import Postgres, Redis
from tests.lab.network import HUB_ADDRESS, Network, star
from tests.lab.processes import Server
from tests.lab.runs import Run, new_run
from tsobs_pipelines.engine.launcher import RunLauncher, started_by
from tsobs_pipelines.engine.queues import TASK_TAG

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@dataclass
class Machines:
    """What launches and watches runs (the daemon's place), and the workers' processes by machine."""

    engine: Workers
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def launcher(self) -> RunLauncher:
        launcher = self.engine.instance.run_launcher
        assert isinstance(launcher, RunLauncher)
        return launcher

    def worker_of(self, run_id: str) -> str | None:
        """The worker that a run's task was started by."""
        run = self.engine.instance.get_run_by_id(run_id)
        assert run is not None
        return started_by(self.launcher.celery.AsyncResult(run.tags[TASK_TAG]))


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
def machines(redis: Redis, postgres: Postgres, tmp_path: Path) -> Iterator[Machines]:
    database = postgres.new_database("dagster_two_machines")
    servers = {"TSOBS_BROKER_URL": redis.url, "TSOBS_DAGSTER_DATABASE_URL": database}
    with contextlib.ExitStack() as stack:
        # A run of its own: the session's may have a tailnet, whose hub is another.
        lab_run = stack.enter_context(new_run())
        network = stack.enter_context(star(lab_run, ["one", "two"]))
        stack.enter_context(passed_on(lab_run, network, "redis", redis.port))
        stack.enter_context(passed_on(lab_run, network, "postgres", postgres.port))
        engine = stack.enter_context(workers(tmp_path / "hub", **servers))
        processes = {}
        for name in ("one", "two"):
            environment = {
                **engine.environment,
                **{key: url.replace("127.0.0.1", HUB_ADDRESS) for key, url in servers.items()},
                "TSOBS_STATE_DIR": str(tmp_path / name),
            }
            command = network.hosts[name].inside(
                sys.executable, "-m", "tsobs_pipelines", "worker", "backfills"
            )
            with (tmp_path / f"{name}.out").open("wb") as sink:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=sink, stderr=sink, start_new_session=True
                )
            engine.started.append(process)
            processes[name] = process
        yield Machines(engine, processes)


def test_a_run_whose_machine_died_is_found_and_done_by_the_other(machines: Machines) -> None:
    engine, launcher = machines.engine, machines.launcher
    runs = [engine.launch("sleeping_job", "backfills", seconds=90) for _ in range(2)]
    eventually(lambda: all(engine.status(run) == "STARTED" for run in runs), 90, "both machines work")
    names = {machines.worker_of(run): run for run in runs}
    assert len(names) == 2, "the runs are shared"

    lost = names[machines.worker_of(runs[0])]
    victim = next(p for p in machines.processes.values() if _is(p, machines.worker_of(lost)))
    os.killpg(victim.pid, signal.SIGKILL)
    killed = time.monotonic()

    def health() -> WorkerStatus:
        run = engine.instance.get_run_by_id(lost)
        assert run is not None
        return launcher.check_run_worker_health(run).status

    assert health() == WorkerStatus.RUNNING, "its machine may just be slow"
    eventually(lambda: health() == WorkerStatus.FAILED, 40, "the silence is noticed")
    print(f"noticed {time.monotonic() - killed:.0f} s after the kill")  # noqa: T201 - for the report
    alive = engine.instance.get_run_by_id(runs[1])
    assert alive is not None
    assert launcher.check_run_worker_health(alive).status == WorkerStatus.RUNNING
    launcher.terminate(runs[1])
    eventually(lambda: engine.status(runs[1]) == "CANCELED", 15, "the other run ends, across machines")
    again = engine.launch("no_op_job", "backfills")
    eventually(lambda: engine.status(again) == "SUCCESS", 30, "the other machine does it")


def _is(process: subprocess.Popen[bytes], worker: str | None) -> bool:
    """Whether a process holds the lock of the worker's name in its state directory."""
    environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    state = next(line for line in environment if line.startswith(b"TSOBS_STATE_DIR=")).decode()
    return (Path(state.partition("=")[2]) / "broker" / "workers" / str(worker)).exists()
