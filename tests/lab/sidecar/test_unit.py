"""The systemd unit, as systemd reads it; and the sidecar as an unprivileged user beside a real daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.lab.processes import poll_until
from tests.support.lab.runs import Run
from tests.support.lab.sidecar import ENTRYPOINT, running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet

UNIT = ENTRYPOINT.parent / "tsobs-sidecar.service"


def analyse(*words: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    installed = tmp_path / UNIT.name
    installed.write_text(UNIT.read_text("utf-8").replace("/opt/tsobs-sidecar/", f"{ENTRYPOINT.parent}/"))
    assert analyse("verify", installed) == ""


def test_the_unit_is_locked_up(tmp_path: Path) -> None:
    installed = tmp_path / UNIT.name
    installed.write_text(UNIT.read_text("utf-8"))
    analyse("security", "--offline=yes", "--threshold=20", installed)


BECOME = "setpriv --reuid=nobody --regid=nogroup --clear-groups --"


def as_nobody(place: Path, name: str, command: Path, program: str) -> Path:
    """A script that is ``command``, whose ``program`` runs as nobody: only root may enter a namespace."""
    words = command.read_text("utf-8").split("exec ", 1)[1].rpartition(' "$@"')[0].split()
    at = next(number for number, word in enumerate(words) if word.endswith(program))
    script = place / name
    script.write_text(f'#!/bin/sh\nexec {" ".join([*words[:at], BECOME, *words[at:]])} "$@"\n')
    script.chmod(0o755)
    return script


def settings_of(way: str, place: Path, tailnet: Tailnet) -> dict[str, str]:
    """Settings of a sidecar that asks the daemon as nobody."""
    observer = tailnet.observer
    if way == "cli":
        command = as_nobody(place, "tailscale", observer.command, "/tailscale")
        return {"TAILSCALE_BIN": str(command), "TS_SOCKET": ""}
    command = as_nobody(place, "tailscale", observer.program, "/tailscale")
    curl = place / "curl"
    curl.write_text(f'#!/bin/sh\nexec {BECOME} {shutil.which("curl")} "$@"\n')
    curl.chmod(0o755)
    return {"TAILSCALE_BIN": str(command), "PATH": f"{place}:{os.environ['PATH']}"}


@pytest.mark.parametrize("way", ["localapi", "cli"])
def test_an_unprivileged_user_can_do_all_of_it(lab_run: Run, direct_tailnet: Tailnet, way: str) -> None:
    """The daemon's socket lets everybody read and ping; the sidecar needs no more."""
    observer = direct_tailnet.observer
    settings = settings_of(way, lab_run.place(f"as-nobody-{way}"), direct_tailnet)
    with running_sidecar(lab_run, observer, f"unprivileged-{way}", settings) as sidecar:
        poll_until(
            lambda: httpx.get(f"{sidecar.url}/healthz", timeout=10).status_code == 200,
            within_s=30,
            what="the sidecar to be well",
        )
        assert httpx.get(f"{sidecar.url}/healthz", timeout=10).json()["api"].partition(":")[0] == way
        name = CRITICAL_NODES[0]
        ip = direct_tailnet.node(name).ip
        for path in ("/status", f"/ping/{name}", f"/ping/{name}?format=json", f"/whois/{ip}", "/netcheck"):
            assert httpx.get(sidecar.url + path, timeout=40).status_code == 200, path
        pings = httpx.get(f"{sidecar.url}/ping/{name}?format=json", timeout=40).json()
        assert all(ping["LatencySeconds"] > 0 for ping in pings)
        debug = httpx.get(f"{sidecar.url}/debug/{name}", timeout=40).json()
        assert debug["peer"]["HostName"] == name
        assert debug["endpoint_changes"]
        assert any("Engine" in event for event in debug["events"])
