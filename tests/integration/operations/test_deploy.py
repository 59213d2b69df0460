"""The deployment files: what can be checked without a container engine, systemd or a cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.running import eventually, up_environment
from tsobs_pipelines.processes.probes import accepts_connections
from tsobs_pipelines.settings import known_names

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
TSOBS = ("code", "webserver", "daemon", "api")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
PINNED = r"docker\.io/[a-z/]+:v?[0-9]+\.[0-9.a-z-]+@sha256:[0-9a-f]{64}"
"""An image by its version, for people, and its digest, which decides."""


def test_the_compose_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, DEPLOY / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "healthcheck" in service
    assert service["image"] == "tsobs:${TSOBS_VERSION:-latest}" or re.fullmatch(PINNED, service["image"])


def test_every_part_is_there_and_every_variable_is_known() -> None:
    assert set(TSOBS) <= set(COMPOSE["services"])
    for name in TSOBS:
        service = COMPOSE["services"][name]
        assert service["command"][:3] == ["tsobs", "run", name]
        assert set(service["environment"]) <= set(known_names())
        assert not [key for key in service["environment"] if "TOKEN" in key and not key.endswith("_FILE")]


def test_the_secrets_are_made_once_and_for_their_readers_only(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run([DEPLOY / "secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    made = make()
    used = {name for service in COMPOSE["services"].values() for name in service.get("secrets", [])}
    assert used == set(made)
    assert {mode_of(path) for path in (tmp_path / "secrets").iterdir()} <= {0o400, 0o440}
    assert make() == made
    assert made["postgres_password"].strip() in made["TSOBS_DATABASE_URL"]
    assert made["TELEGRAM_BOT_TOKEN"] == made["TSOBS_NOTIFY_URLS"] == ""
    assert len({value for value in made.values() if value}) == len(made) - 2


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    (tmp_path / "TELEGRAM_BOT_TOKEN").write_text("")
    environment = up_environment(tmp_path / "var", TSOBS_SECRETS_DIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "tsobs_pipelines", "settings"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"TELEGRAM_BOT_TOKEN\s+-", done.stdout)


def test_the_units_name_every_part_and_every_secret() -> None:
    target = (DEPLOY / "systemd" / "tsobs.target").read_text("utf-8")
    assert set(re.findall(r"tsobs@(\w+)\.service", target)) == set(TSOBS)
    unit = (DEPLOY / "systemd" / "tsobs@.service").read_text("utf-8")
    loaded = re.findall(r"^LoadCredential=(\w+):/etc/tsobs/secrets/(\w+)$", unit, re.MULTILINE)
    assert loaded
    assert all(name == file and name in known_names() for name, file in loaded)
    # A credential whose file is missing ends the start: the instructions make all of them, and the user.
    instructions = unit.partition("[Unit]")[0]
    (made,) = re.findall(r"touch ([A-Z0-9_ ]+)", instructions)
    assert set(made.split()) == {name for name, _ in loaded}
    assert re.search(r"^#   useradd .* tsobs$", instructions, re.MULTILINE)
    set_here = re.findall(r"(TSOBS_\w+)=", unit)
    assert set(set_here) <= set(known_names())


def test_the_helm_values_name_known_variables() -> None:
    values = yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text("utf-8"))
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert {one["name"] for one in deployment["env"]} <= set(known_names())
    launcher = values["runLauncher"]
    assert set(launcher["config"]) == {launcher["type"][0].lower() + launcher["type"][1:]}
    # Runs are pods of their own: they get the user from the launcher, all else from the deployment.
    user = launcher["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]["securityContext"]
    assert user == deployment["podSecurityContext"]
    assert user["runAsNonRoot"] is True
    assert deployment["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = {one["mountPath"] for one in deployment["volumeMounts"]}
    env = {one["name"]: one["value"] for one in deployment["env"]}
    assert {env["TSOBS_STATE_DIR"], env["TSOBS_SECRETS_DIR"]} < mounted
    volumes = {one["name"] for one in deployment["volumes"]}
    assert {one["name"] for one in deployment["volumeMounts"]} == volumes


def test_a_part_runs_alone_and_its_health_can_be_asked(tmp_path: Path) -> None:
    environment = up_environment(tmp_path / "var")

    def health() -> int:
        command = [sys.executable, str(DEPLOY / "healthcheck.py"), "code"]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert health() == 1
    with (tmp_path / "out").open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tsobs_pipelines", "run", "code"],
            env=environment,
            cwd=ROOT,
            stdout=sink,
            stderr=sink,
        )
    try:
        socket = tmp_path / "var" / "dagster" / "code.sock"
        eventually(
            lambda: accepts_connections(str(socket)) or process.poll() is not None,
            120,
            "the code server answers",
        )
        assert process.poll() is None, (tmp_path / "out").read_text()
        eventually(lambda: health() == 0, 60, "the code server is healthy")
    finally:
        process.terminate()
        process.wait(timeout=30)
