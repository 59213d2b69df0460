"""Runs on two machines by dagster-celery as it comes: a shared backfill of 90 days, and a machine that dies.

Each worker has a network namespace, a host name and a state directory of its own. Its loopback leads to
Postgres, Redis, the sidecar and the Bot API of the test, and to nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.backfills import PROCESS
from tests.support.bot_api import CHAT, TOKEN, BotApi, bot_api
from tests.support.growing_sidecar import GrowingSidecar
from tests.support.journals import minutes, round_line
from tests.support.lab.databases import Postgres, Redis
from tests.support.lab.network import Host
from tests.support.lab.processes import Server
from tests.support.lab.processes import run as run_command
from tests.support.lab.runs import Run
from tests.support.running import Running, eventually, processes_with, running, up_environment
from tests.support.sidecars import served
from tests.support.watching import ENDED, runs, tags_of
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

pytestmark = pytest.mark.timeout(1500)

DAYS = 90
EVERY_MINUTES = 15
SLOW_MINUTES = 40
"""For so long a node is slow by now: there is something to send a message about."""

MAX_RUNTIME_S = 90
"""Of the backfill's runs, instead of an hour: how long the run of a dead worker seems to go on."""

BACKFILL = """mutation($params: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess {backfillId} ... on PythonError {message}}}"""
STATUS = """query($id: String!) {partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill {status}}}"""
ASSETS = ("connection_metrics", "network_diagnostics", "connection_summary")


class SlowNode(GrowingSidecar):
    """Rounds in which one node has been slow for some time."""

    slow_since = datetime.max.replace(tzinfo=UTC)

    def line(self, at: datetime) -> bytes:
        """A round; ``git`` is slow since then."""
        apart = {"git": (900.0, "")} if at >= self.slow_since else {}
        return round_line(at, nodes=self.names, apart=apart)


@dataclass
class Machine:
    """A worker on a machine of its own."""

    name: str
    state: Path
    worker: Server
    forwards: list[Server] = field(default_factory=list)

    def processes(self) -> list[int]:
        """The worker's processes, by its state directory."""
        return processes_with(f"TSOBS_STATE_DIR={self.state}\0")

    def is_ready(self) -> bool:
        """Whether the worker has said which queues it takes tasks from."""
        return "[queues]" in self.worker.log.read_text("utf-8")

    def dies(self) -> None:
        """Everything on it is gone at once, its connections too."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for forward in self.forwards:
            forward.kill()


@contextlib.contextmanager
def machine(
    lab_run: Run, name: str, environment: Mapping[str, str], ports: Mapping[str, int]
) -> Iterator[Machine]:
    """A worker in a namespace whose loopback leads to these ports of the test's own."""
    host = Host(lab_run.namespace(name), "127.0.0.1")
    place = lab_run.place(name)
    state = place / "var"
    own = {**up_environment(state), **environment, "TSOBS_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "tsobs_pipelines", "run", "worker"]
    named = ["unshare", "--uts", "--", "sh", "-c", f'hostname {name} && exec "$@"', "sh", *command]
    # Without the settings of who runs the tests.
    cleared = ["env", "-i", *(f"{key}={value}" for key, value in own.items())]
    worker = Server(f"worker {name}", host.inside(*cleared, *named), place / "worker.log", patience_s=20)
    made = Machine(name, state, worker)
    run_command(["ip", "netns", "add", host.namespace])
    try:
        run_command(["ip", "-n", host.namespace, "link", "set", "lo", "up"])
        for what, port in ports.items():
            socket = place / f"{what}.sock"
            near = host.inside(
                "socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"UNIX-CONNECT:{socket}"
            )
            far = ["socat", f"UNIX-LISTEN:{socket},fork", f"TCP:127.0.0.1:{port}"]
            made.forwards += [
                Server(f"{name} {what} {end}", command, place / "socat.log")
                for end, command in (("far", far), ("near", near))
            ]
        for forward in made.forwards:
            forward.start()
        worker.start()
        yield made
    finally:
        worker.stop()
        for pid in made.processes():
            os.kill(pid, signal.SIGKILL)
        for forward in made.forwards:
            forward.kill()
        run_command(["ip", "netns", "delete", host.namespace])


@dataclass
class Cluster:
    """tsobs, its two workers, and what they work on."""

    tsobs: Running
    machines: tuple[Machine, Machine]
    sidecar: SlowNode
    bot: BotApi
    rows: str

    def launch(self) -> str:
        """Ask for all days; the backfill's id."""
        today = datetime.now(UTC).date()
        params = {
            "assetSelection": [{"path": [name]} for name in ASSETS],
            "partitionNames": [f"{today - timedelta(days=back)}" for back in range(DAYS)],
            "tags": [{"key": "dagster/max_runtime", "value": str(MAX_RUNTIME_S)}],
        }
        answer = self.tsobs.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
        assert isinstance(answer, dict)
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def status(self, backfill: str) -> str:
        answer = self.tsobs.graphql(STATUS, id=backfill)["partitionBackfillOrError"]
        assert isinstance(answer, dict)
        return str(answer["status"])

    def runs_of(self, backfill: str) -> list[dict[str, object]]:
        return [run for run in runs(self.tsobs, 200) if tags_of(run).get("dagster/backfill") == backfill]

    def machine_of(self, run_id: str) -> str:
        """The machine that executes a run, or did while its worker was there."""
        said = self.tsobs.graphql(PROCESS, id=run_id)["logsForRun"]
        pids = {int(pid) for pid in re.findall(r"Started process for run \(pid: (\d+)\)", str(said))}
        return next((one.name for one in self.machines if pids & set(one.processes())), "")

    def stored(self) -> Counter[tuple[datetime, str]]:
        """How many rows there are of each round and node."""
        store = SqlStore(self.rows)
        since = datetime.now(UTC) - timedelta(days=DAYS + 1)
        found = Counter(
            (row.time, row.hostname)
            for row in store.read(CONNECTIONS, Window(since, since + timedelta(days=DAYS + 2)))
        )
        store.close()
        return found


@pytest.fixture
def cluster(lab_run: Run, postgres: Postgres, redis: Redis, tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "prices.csv").write_text("time,price\n", "utf-8")
    with contextlib.ExitStack() as stack:
        sidecar, bot = SlowNode(), stack.enter_context(bot_api())
        stack.enter_context(served(sidecar))
        rows = postgres.new_database("machines_rows")
        settings = {
            "TSOBS_RUN_LAUNCHER": "celery",
            "CELERY_BROKER_URL": redis.url,
            "CELERY_RESULT_BACKEND": redis.url,
            "TSOBS_DATABASE_URL": rows,
            "TSOBS_DAGSTER_DATABASE_URL": postgres.new_database("machines_dagster"),
            "TSOBS_START_DATE": f"{datetime.now(UTC).date() - timedelta(days=DAYS - 1)}",
            "TSOBS_MODELS_DIR": str(tmp_path / "models"),
            "TSOBS_PRICE_SOURCE": f"csv:{tmp_path / 'prices.csv'}",
            "TSOBS_SIDECAR_URL": sidecar.url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_CHAT_ID": CHAT,
            "TELEGRAM_API_URL": bot.url,
        }
        ports = {
            "postgres": postgres.port,
            "redis": redis.port,
            "sidecar": sidecar.server_port,
            "bot": urlsplit(bot.url).port or 0,
        }
        tsobs = stack.enter_context(running(tmp_path, **settings))
        left = stack.enter_context(machine(lab_run, "left", settings, ports))
        right = stack.enter_context(machine(lab_run, "right", settings, ports))
        for one in (left, right):
            eventually(one.is_ready, 120, f"{one.name} is ready")
        yield Cluster(tsobs, (left, right), sidecar, bot, rows)


def test_two_machines_share_a_backfill_and_one_dies(cluster: Cluster) -> None:
    left, right = cluster.machines
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    today = now.replace(hour=0, minute=0)
    cluster.sidecar.slow_since = now - timedelta(minutes=SLOW_MINUTES)
    first = today - timedelta(days=DAYS - 1)
    spaced = [first + timedelta(minutes=at) for at in range(0, DAYS * 1440, EVERY_MINUTES)]
    cluster.sidecar.take(at for at in spaced if at < cluster.sidecar.slow_since)
    cluster.sidecar.take(minutes(cluster.sidecar.slow_since, SLOW_MINUTES))
    backfill = cluster.launch()

    worked: dict[str, str] = {}

    def both_have_worked() -> str:
        for run in cluster.runs_of(backfill):
            if run["status"] == "STARTED" and (name := cluster.machine_of(str(run["runId"]))):
                worked[str(run["runId"])] = name
                if name == left.name and right.name in worked.values():
                    return str(run["runId"])
        return ""

    lost = eventually(both_have_worked, 300, "both machines have executed runs of the backfill")
    left.dies()
    died = time.monotonic()

    def run_of(run_id: str) -> dict[str, object]:
        return next(run for run in runs(cluster.tsobs, 200) if run["runId"] == run_id)

    def retried() -> bool:
        return any(run["parentRunId"] == lost for run in runs(cluster.tsobs, 200))

    eventually(lambda: run_of(lost)["status"] in ENDED, MAX_RUNTIME_S + 120, "its run is given up")
    assert run_of(lost)["status"] == "FAILURE"
    given_up = time.monotonic() - died
    eventually(retried, 60, "its run is tried again")
    tried_again = time.monotonic() - died
    eventually(lambda: cluster.status(backfill) not in {"REQUESTED", "FAILED"}, 900, "the backfill is over")
    done = time.monotonic() - died
    print(  # noqa: T201 - for the report
        f"dagster/max_runtime {MAX_RUNTIME_S} s; the dead worker's run failed after {given_up:.0f} s, "
        f"was tried again after {tried_again:.0f} s, the backfill done after {done:.0f} s; "
        f"runs {Counter(str(run['status']) for run in cluster.runs_of(backfill))}"
    )
    assert cluster.status(backfill) == "COMPLETED_SUCCESS"
    eventually(lambda: set(cluster.stored()) >= cluster.sidecar.wanted(), 400, "every round is in the store")
    assert set(cluster.stored().values()) == {1}
    eventually(lambda: cluster.bot.texts, 400, "a message about the slow node")
    assert max(Counter(cluster.bot.texts).values()) == 1, cluster.bot.texts
