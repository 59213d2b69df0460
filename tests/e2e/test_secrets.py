"""A canary in every secret setting while all services are down: it must not be written anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.running import ROOT, Running, eventually, running, up_environment
from tests.support.watching import ENDED, runs
from tsobs_pipelines.settings import Settings

LAUNCH = """mutation($job: String!, $tags: [ExecutionTag!]!) {launchRun(executionParams: {
  selector: {jobName: $job, repositoryName: "__repository__", repositoryLocationName: "tsobs"},
  executionMetadata: {tags: $tags}}) {__typename}}"""

JOBS = """{repositoryOrError(repositorySelector: {repositoryName: "__repository__",
  repositoryLocationName: "tsobs"}) {... on Repository {
  jobs {name} sensors {name} schedules {name}}}}"""

TICKS = """query($name: String!) {instigationStateOrError(instigationSelector: {name: $name,
  repositoryName: "__repository__", repositoryLocationName: "tsobs"}) {
  ... on InstigationState {ticks(limit: 50) {status skipReason error {message stack causes {message}}}}}}"""

EVENTS = """query($id: ID!) {logsForRun(runId: $id) {... on EventConnection {events {
  ... on MessageEvent {message} ... on ErrorEvent {error {message stack causes {message stack}}}}}}}"""

INSTANCE = (
    "{instance {info runLauncher {name} daemonHealth {allDaemonStatuses {lastHeartbeatErrors {message}}}}}"
)


TOKENS = (
    *("INFLUXDB_V2_TOKEN", "TELEGRAM_BOT_TOKEN", "TSOBS_PROXY_SECRET"),
    *("TSOBS_ENTSOE_TOKEN", "TSOBS_ESIOS_TOKEN"),
)


def canary(name: str) -> str:
    """A value that is found again, and never by chance."""
    return f"cAnArY-{name.lower().replace('_', '-')}"


def addresses() -> dict[str, str]:
    """An address with a canary for each setting that takes one; nothing listens there."""
    dead = free_port()
    return {
        name: f"http://user:{canary(name)}@127.0.0.1:{dead}/x?token={canary(name)}"
        for name in ("TSOBS_SIDECAR_URL", "INFLUXDB_V2_URL", "TELEGRAM_API_URL", "TSOBS_HEARTBEAT_URL")
    } | {
        "INFLUXDB_V2_ORG": "tsobs",
        "TSOBS_NOTIFY_URLS": " ".join(notify_urls(dead)),
    }


def notify_urls(dead: int) -> list[str]:
    """Addresses of notification services with a canary in each of their parts."""
    secret = canary("TSOBS_NOTIFY_URLS")
    return [
        f"json://user:{secret}@127.0.0.1:{dead}/{secret}?token={secret}&+X-Key={secret}",
        f"mailto://{secret}:{secret}@127.0.0.1:{dead}?to=a@example.com&from=b@example.com&pass={secret}",
        f"ntfy://{secret}:{secret}@127.0.0.1:{dead}/{secret}",
    ]


def test_every_setting_that_can_hold_a_secret_is_tried() -> None:
    """A new field of a secret type has to be added above."""
    kinds = ("Secret", "CapabilityUrl")
    fields = Settings.model_fields.values()
    secret = {str(f.validation_alias) for f in fields if any(kind in str(f.annotation) for kind in kinds)}
    tried = {*addresses(), *TOKENS}
    # These are servers' that the start itself needs: the commands below are tried with them.
    assert secret - tried <= {
        "TSOBS_DATABASE_URL",
        "TSOBS_DAGSTER_DATABASE_URL",
        "TSOBS_MODELS_DIR",
    }


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings that are full of canaries."""
    place = tmp_path_factory.mktemp("secrets")
    token = place / "sidecar.token"
    token.write_text(canary("sidecar_token"))
    tokens = {name: f"123456:{canary(name)}" for name in TOKENS}
    return {
        **addresses(),
        **tokens,
        "TSOBS_SIDECAR_TOKEN_FILE": str(token),
        "TELEGRAM_CHAT_ID": "1",
        "TSOBS_LOG_LEVEL": "DEBUG",
    }


@pytest.fixture(scope="module")
def tsobs(tmp_path_factory: pytest.TempPathFactory, secrets: Mapping[str, str]) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("up"), **secrets) as started:
        yield started


def found_in(text: str | bytes) -> list[str]:
    """What of a canary is in it, with its surroundings."""
    raw = text.encode() if isinstance(text, str) else text
    lower = raw.lower()
    if b"canary" not in lower:
        return []
    place = lower.index(b"canary")
    return [raw[max(place - 200, 0) : place + 80].decode("utf-8", "replace")]


def test_what_is_answered_and_written_while_everything_fails(tsobs: Running) -> None:
    jobs = tsobs.graphql(JOBS)["repositoryOrError"]
    assert isinstance(jobs, dict)
    for name in ("collect_connections", "fetch_prices"):
        assert name in {job["name"] for job in jobs["jobs"]}
    tags = [{"key": "dagster/partition", "value": str(datetime.now(UTC).date())}]
    for job in jobs["jobs"]:
        tsobs.graphql(LAUNCH, job=job["name"], tags=tags)
    failed = eventually(
        lambda: [run for run in runs(tsobs) if run["status"] == "FAILURE"], 120, "a run has failed"
    )
    ticks = [
        json.dumps(tsobs.graphql(TICKS, name=one["name"])) for one in (*jobs["sensors"], *jobs["schedules"])
    ]
    assert any("healing" in tick or "Can't" in tick or "sidecar" in tick for tick in ticks), ticks
    said = [json.dumps(tsobs.graphql(EVENTS, id=run["runId"])) for run in runs(tsobs)]
    assert failed
    said += [*ticks, json.dumps(tsobs.graphql(INSTANCE)), tsobs.printed()]
    base = f"http://127.0.0.1:{tsobs.api_port}"
    document = httpx.get(f"{base}/openapi.json", timeout=30).json()
    for path in document["paths"]:
        answer = httpx.get(base + path.replace("{hostname}", "git"), timeout=60)
        said.append(f"{path} {answer.status_code} {answer.text}")
    assert any("[redacted]@127.0.0.1" in text for text in said), "the addresses are named"
    for text in said:
        assert found_in(text) == []
    eventually(lambda: [run for run in runs(tsobs) if run["status"] in ENDED], 60, "runs end")
    files = [path for path in tsobs.state.rglob("*") if path.is_file()]
    assert any(path.name == "dagster.yaml" for path in files)
    assert any(path.suffix == ".jsonl" for path in files)
    for path in files:
        with suppress(FileNotFoundError):  # SQLite's files beside a database come and go
            assert found_in(path.read_bytes()) == [], path


COMMANDS = (["settings"], ["doctor"], ["doctor", "--json"], ["alerts"], ["alerts", "test"], ["backup", "to"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_commands_print(tmp_path: Path, secrets: Mapping[str, str], command: list[str]) -> None:
    dead = free_port()
    databases = {
        name: f"postgresql://user:{canary(name)}@127.0.0.1:{dead}/x?application_name={canary(name)}"
        for name in ("TSOBS_DATABASE_URL", "TSOBS_DAGSTER_DATABASE_URL")
    }
    # A start that can't read its prices ends at once, so these are tried here alone.
    places = {
        "TSOBS_MODELS_DIR": f"ftp://user:{canary('models')}@127.0.0.1:{dead}/models",
        "TSOBS_PRICE_SOURCE": f"csv:http://user:{canary('prices')}@127.0.0.1:{dead}/prices.csv",
    }
    environment = {**up_environment(tmp_path / "var", **secrets), **databases, **places}
    done = subprocess.run(
        [sys.executable, "-m", "tsobs_pipelines", *command],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout or done.stderr
    assert found_in(done.stdout + done.stderr) == []
