"""The logs of a running tsobs: every process in the day's file, runs with their context, no secret."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.journals import NODES, minutes, round_line
from tests.support.running import ROOT, Running, eventually, running
from tests.support.sidecars import StubSidecar, served
from tsobs_pipelines.defs.tailnet.assets import SCHEDULED_TAG
from tsobs_pipelines.logs.levels import NAMES

pytestmark = pytest.mark.long

TOKEN = "123456789:AAEe2eSecretOfTheTelegramBot012345"
INFLUX_TOKEN = "influx-e2e-secret-token=="
PASSWORD = "database-e2e-secret"
PATHS = ("/alerts", "/health-monitoring/nodes", "/healthz", "/about", "/metrics", "/logs/search")
FIELDS = {"timestamp", "level", "logger", "message", "module", "function", "line"}

LAUNCH = """mutation($job: String!, $tags: [ExecutionTag!]) {launchRun(executionParams: {
  selector: {repositoryName: "__repository__", repositoryLocationName: "tsobs", jobName: $job},
  runConfigData: {}, executionMetadata: {tags: $tags}}) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
STATUS = """query($run: ID!) {runOrError(runId: $run) {... on Run {status}}}"""

RUNS = """{runsOrError {... on Runs {results {status eventConnection {events {
  ... on MessageEvent {message} ... on ErrorEvent {error {message stack causes {message stack}}}}}}}}}"""


def entries(state: Path) -> list[dict[str, object]]:
    """Every line of the day files, each of which must be a whole object of JSON."""
    found: list[dict[str, object]] = []
    for path in sorted((state / "logs").glob("tsobs-*.jsonl")):
        *lines, _ = path.read_text("utf-8").split("\n")  # what follows the last end is being written
        for line in lines:
            entry = json.loads(line)
            assert entry.keys() >= FIELDS, line
            assert entry["level"] in NAMES
            found.append(entry)
    return found


class Journal(StubSidecar):
    """A sidecar whose journal is today's rounds so far, direct and then relayed."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(second=0, microsecond=0)
        self.day = self.now.date()
        peers = {name: {"HostName": name, "Online": True} for name in NODES}
        super().__init__({"/healthz": {"ok": True}, "/status": {"BackendState": "Running", "Peer": peers}})
        times = minutes(self.now - timedelta(minutes=30), 20)
        self.rounds = [round_line(at) for at in times if self.mine(at)]
        self.tell()

    def mine(self, at: datetime) -> bool:
        """Whether a round is of today."""
        return at.date() == self.day

    def relay(self) -> None:
        """Add the rounds since then, over a relay."""
        times = [at for at in minutes(self.now - timedelta(minutes=10), 10) if self.mine(at)]
        self.rounds += [round_line(at, relay="fra", latency_ms=60.0) for at in times]
        self.tell()

    def tell(self) -> None:
        """Put the rounds where they are asked for."""
        text = b"".join(self.rounds)
        index = {"rounds": len(self.rounds), "bytes": len(text)}
        self.answers["/samples"] = {"days": {str(self.day): index}}
        self.answers[f"/samples/{self.day}"] = text.decode()


def launched(tsobs: Running, day: str) -> str:
    """Launch the tick's job for a day; gives the run's id."""
    tags = {"dagster/partition": day, SCHEDULED_TAG: datetime.now(UTC).isoformat()}
    pairs = [{"key": key, "value": value} for key, value in tags.items()]
    answer = tsobs.graphql(LAUNCH, job="collect_connections", tags=pairs)["launchRun"]
    assert isinstance(answer, dict)
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def ended(tsobs: Running, run_id: str) -> str:
    """How the run ended."""

    def status() -> str | None:
        run = tsobs.graphql(STATUS, run=run_id)["runOrError"]
        assert isinstance(run, dict)
        return str(run["status"]) if run["status"] in {"SUCCESS", "FAILURE"} else None

    return eventually(status, 90, f"run {run_id} has ended")


def command(tsobs: Running, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program's command with the settings of this tsobs."""
    return subprocess.run(
        [sys.executable, "-m", "tsobs_pipelines", *words],
        env=dict(tsobs.environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_no_secret(tsobs: Running, secrets: Sequence[str], *shown: str) -> None:
    """None of ``secrets`` is in what was shown, printed, or written to any file of the state directory."""
    places = {f"shown {number}": text.encode() for number, text in enumerate(shown)}
    places["printed"] = tsobs.printed().encode()
    for path in tsobs.state.rglob("*"):
        if path.is_file():
            # A database's journal comes and goes.
            with contextlib.suppress(FileNotFoundError):
                places[str(path)] = path.read_bytes()
    assert any(place.endswith(".jsonl") for place in places)
    assert not [
        (place, secret) for secret in secrets for place, text in places.items() if secret.encode() in text
    ]


@pytest.fixture(scope="module")
def journal() -> Iterator[Journal]:
    made = Journal()
    with served(made):
        yield made


@pytest.fixture(scope="module")
def tsobs(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("logs")
    daemon = place / "tailscaled.log"
    daemon.write_text("2026/11/24 17:38:12 magicsock: derp-9 connected\n")
    settings = {
        "TSOBS_SIDECAR_URL": journal.url,
        "TSOBS_TAILSCALED_LOG": str(daemon),
        "TSOBS_START_DATE": str(journal.day),
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_ID": "1",
        "TELEGRAM_API_URL": "http://127.0.0.1:9",
    }
    with running(place, **settings) as started:
        yield started


def test_each_process_is_in_the_file_of_the_day(tsobs: Running, journal: Journal) -> None:
    httpx.get(f"http://127.0.0.1:{tsobs.api_port}/alerts")

    def wanted() -> bool:
        found = entries(tsobs.state)
        parts = {entry.get("part") for entry in found}
        loggers = {str(entry["logger"]) for entry in found}
        return {"code", "webserver", "daemon", "runs", "api"} <= parts and {
            "tailscaled",
            "tsobs_pipelines.api.access",
            "tsobs_pipelines.processes.supervisor",
        } <= loggers

    eventually(wanted, 60, "every process has written")
    (daemon,) = [entry for entry in entries(tsobs.state) if entry["logger"] == "tailscaled"]
    assert (daemon["component"], daemon["message"]) == ("magicsock", "derp-9 connected")
    assert str(daemon["event_time"]).startswith("2026-11-24T17:38:12")


def test_a_run_and_a_change_of_path(tsobs: Running, journal: Journal) -> None:
    assert ended(tsobs, launched(tsobs, str(journal.day))) == "SUCCESS"
    journal.relay()
    run_id = launched(tsobs, str(journal.day))
    assert ended(tsobs, run_id) == "SUCCESS"
    mine = [entry for entry in entries(tsobs.state) if entry.get("run_id") == run_id]
    assert {entry.get("partition") for entry in mine} == {str(journal.day)}
    events = {entry.get("event") for entry in mine}
    assert {"PIPELINE_START", "STEP_SUCCESS", "ASSET_MATERIALIZATION", "PIPELINE_SUCCESS"} <= events
    assert {"connection_metrics", "connection_summary"} <= {entry.get("asset") for entry in mine}
    # Each record once, whatever the ways it can take.
    assert len({json.dumps(entry) for entry in mine}) == len(mine)
    assert len([entry for entry in mine if entry.get("event") == "PIPELINE_START"]) == 1
    assert {entry.get("part") for entry in mine} == {"runs"}
    # A run of the schedule may have come first: whose run tells it is no matter, but it is told once.
    changes = [entry for entry in entries(tsobs.state) if entry["logger"] == "tailscale.connection"]
    assert all(entry["run_id"] and entry["partition"] == str(journal.day) for entry in changes)
    if len(journal.rounds) == 30:  # shortly after midnight there is no round before the change
        assert sorted(str(entry["hostname"]) for entry in changes) == sorted(NODES)
        assert {(entry["from"], entry["to"]) for entry in changes} == {("direct", "relay")}
        assert all(entry["latency_ms"] == 60.0 for entry in changes)


def test_the_command_finds_what_the_route_finds(tsobs: Running) -> None:
    path = "logs/search?level=INFO&hours=1&limit=20&logger=tsobs_pipelines.processes"
    over_http = httpx.get(f"http://127.0.0.1:{tsobs.api_port}/{path}").json()
    options = "--level INFO --hours 1 --limit 20 --logger tsobs_pipelines.processes --json"
    done = command(tsobs, "logs", *options.split())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["entries"] == over_http["entries"]
    assert over_http["count"] > 0


def test_new_lines_are_followed(tsobs: Running) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tsobs_pipelines", "logs", "--follow", "--json", "--limit", "1"],
        env=dict(tsobs.environment),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as following:
        guard = threading.Timer(60, following.kill)
        guard.start()
        assert following.stdout is not None
        lines = iter(following.stdout)
        next(lines)  # the newest line of before: now it follows
        httpx.get(f"http://127.0.0.1:{tsobs.api_port}/alerts?limit=77")
        found = any(json.loads(line).get("query") == "limit=77" for line in lines)
        guard.cancel()
        following.kill()
    assert found


def test_a_token_that_is_named_or_used_in_vain_is_nowhere(tsobs: Running) -> None:
    """A request carries it, and Telegram, whose addresses carry it, can't be reached."""
    seen = httpx.get(f"http://127.0.0.1:{tsobs.api_port}/nowhere/{TOKEN}?q={TOKEN}").status_code
    assert seen == 404
    eventually(
        lambda: [one for one in entries(tsobs.state) if str(one.get("path")).startswith("/nowhere/")],
        10,
        "the request has its record",
    )

    def refused() -> str | None:
        """What a test message came to, once no message of another process is in its way."""
        sent = command(tsobs, "alerts", "test")
        assert sent.returncode == 1
        return sent.stdout + sent.stderr if "ConnectError" in sent.stdout else None

    assert_no_secret(tsobs, [TOKEN], eventually(refused, 60, "a test message was tried"))


def test_no_secret_after_stores_have_refused(tmp_path: Path) -> None:
    """InfluxDB refuses the token, and the database can't be reached."""
    influx = StubSidecar({"/": {}}, {"/": 401})
    settings = {
        "INFLUXDB_V2_URL": influx.url,
        "INFLUXDB_V2_ORG": "lab",
        "INFLUXDB_V2_TOKEN": INFLUX_TOKEN,
        "TSOBS_DATABASE_URL": f"postgresql+psycopg2://tsobs:{PASSWORD}@127.0.0.1:9/tsobs",
    }
    with served(influx), running(tmp_path, **settings) as tsobs:
        api = f"http://127.0.0.1:{tsobs.api_port}"
        answers = {path: httpx.get(f"{api}{path}", timeout=30) for path in PATHS}
        assert answers["/alerts"].status_code == 503
        assert answers["/health-monitoring/nodes"].status_code == 503
        assert ended(tsobs, launched(tsobs, f"{datetime.now(UTC):%Y-%m-%d}")) == "FAILURE"
        runs = json.dumps(tsobs.graphql(RUNS))
        assert "InfluxDB" in runs
        shown = [answer.text for answer in answers.values()]
        assert_no_secret(tsobs, [INFLUX_TOKEN, PASSWORD], runs, *shown)
    # Whatever is written at the end is written by now.
    assert_no_secret(tsobs, [INFLUX_TOKEN, PASSWORD])
    failures = [one for one in entries(tsobs.state) if one["level"] == "ERROR" and "run_id" in one]
    assert failures
