"""The sidecar's container and unit: what can be checked without a container engine or a running systemd."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.support.sidecar_process import ROOT, FakeTailscale, Sidecar, running, status

SIDECAR = ROOT / "sidecar"
HEALTHCHECK = SIDECAR / "healthcheck.sh"


def service(name: str) -> dict[str, object]:
    compose = yaml.safe_load((SIDECAR / "compose.yaml").read_text("utf-8"))
    found = compose["services"][name]
    assert isinstance(found, dict)
    return found


def test_the_compose_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, SIDECAR / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_container_has_no_more_rights_than_it_needs() -> None:
    sidecar = service("sidecar")
    assert sidecar["user"] == "8765:8765"
    assert sidecar["read_only"] is True
    assert sidecar["cap_drop"] == ["ALL"]
    assert sidecar["network_mode"] == "service:tailscale"
    assert "tailscale-socket:/var/run/tailscale:ro" in sidecar["volumes"]  # type: ignore[operator]
    assert all(port.startswith("127.0.0.1:") for port in service("tailscale")["ports"])  # type: ignore[attr-defined]
    assert "\nUSER 8765:8765\n" in (SIDECAR / "Dockerfile").read_text("utf-8")


def test_daemon_and_sidecar_are_one_image_pinned_by_digest() -> None:
    daemon = service("tailscale")["image"]
    built = service("sidecar")["build"]
    assert isinstance(daemon, str)
    assert isinstance(built, dict)
    assert built["args"] == {"TAILSCALE_IMAGE": daemon}
    default = daemon.removeprefix("${TAILSCALE_IMAGE:-").removesuffix("}")
    assert re.fullmatch(r"docker\.io/tailscale/tailscale:v[0-9.]+@sha256:[0-9a-f]{64}", default)
    assert f"\nARG TAILSCALE_IMAGE={default}\n" in (SIDECAR / "Dockerfile").read_text("utf-8")


def test_every_variable_of_the_container_is_one_that_the_entrypoint_knows() -> None:
    known = (SIDECAR / "lib.sh").read_text("utf-8")
    environment = service("sidecar")["environment"]
    assert isinstance(environment, dict)
    assert [name for name in environment if f'"${{{name}:=' not in known] == []


def healthcheck(sidecar: Sidecar) -> int:
    environment = {
        "PATH": os.environ["PATH"],
        "SIDECAR_PORT": str(sidecar.port),
        "JOURNAL_DIR": str(sidecar.journal),
        **sidecar.settings,
    }
    return subprocess.run([HEALTHCHECK], env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_the_health_check_tells_well_from_ill(
    new_sidecar: Sidecar, tailscale: FakeTailscale, bind: str
) -> None:
    token = new_sidecar.place / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o400)
    new_sidecar.settings |= {"SIDECAR_BIND": bind, "SIDECAR_TOKEN_FILE": str(token)}
    assert healthcheck(new_sidecar) == 1
    new_sidecar.settings["SIDECAR_ALLOWED_HOSTS"] = f"tailscale:1 127.0.0.1:{new_sidecar.port}"
    with running(new_sidecar):
        assert healthcheck(new_sidecar) == 0
        tailscale.say("status", status(state="Stopped"))
        assert healthcheck(new_sidecar) == 1
