"""Checks of this machine: state directory, disk, models, ports, settings."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from datetime import datetime

from tsobs_pipelines.doctor.findings import Finding, Level
from tsobs_pipelines.settings import Settings, unknown_names
from tsobs_pipelines.upkeep.disk import disk_of


def check_settings(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Misspelt names; demo parts are reported, so that nobody takes them for real."""
    _ = now
    misspelt = [
        Finding(
            "settings",
            "warning",
            f"{name} is not a setting",
            f"did you mean {similar}?" if similar else "remove it",
        )
        for name, similar in unknown_names().items()
    ]
    demo = [
        what
        for what, is_demo in (("tailnet", settings.first_tailnet.demo), ("prices", settings.demo_prices))
        if is_demo
    ]
    said = f"simulated: {' and '.join(demo)}" if demo else "nothing is simulated"
    return [*misspelt, Finding("settings", "ok", said)]


def check_state(settings: Settings, now: datetime) -> Sequence[Finding]:
    """The state directory: there, private, writable, with room."""
    _ = now
    state = settings.state_dir
    if not state.is_dir():
        return [Finding("state directory", "warning", f"{state} is not there yet", "make up makes it")]
    found = []
    mode = stat.S_IMODE(state.stat().st_mode)
    if mode & 0o077:
        remedy = f"chmod 700 {state}: whoever can write there can run code"
        found.append(Finding("state directory", "failed", f"{state} has mode {mode:04o}", remedy))
    elif not os.access(state, os.W_OK | os.X_OK):
        found.append(
            Finding(
                "state directory", "failed", f"{state} can't be written", f"chown it to user {os.getuid()}"
            )
        )
    else:
        found.append(Finding("state directory", "ok", f"{state.resolve()}, mode {mode:04o}"))
    disk = disk_of(state)
    levels: dict[str, Level] = {"enough": "ok", "little": "warning", "too little": "failed"}
    remedy = (
        ""
        if disk.level == "enough"
        else "make room, or shorten TSOBS_RUN_RETENTION_DAYS and start keep_house"
    )
    found.append(Finding("free disk", levels[disk.level], disk.summary, remedy))
    return found


def check_models(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Where models and the metrics history are kept."""
    _ = now
    place = settings.local_models
    if place is None:
        import fsspec  # noqa: PLC0415 - only where it is used

        files, path = fsspec.core.url_to_fs(settings.models_dir.get_secret_value())
        there = "there" if files.exists(path) else "empty so far"
        detail = f"{settings.models_dir} answers, {there}"
        return [Finding("models", "ok", detail, version=f"fsspec {fsspec.__version__}")]
    nearest = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return [Finding("models", "ok", f"{place.absolute()} can be written")]
    return [
        Finding(
            "models",
            "failed",
            f"{nearest} can't be written",
            f"chown it to user {os.getuid()}, or set TSOBS_MODELS_DIR",
        )
    ]


def check_ports(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Whether the servers listen, or their ports are free."""
    _ = now
    wanted = (
        ("Dagster UI", "TSOBS_DAGSTER_PORT", "127.0.0.1", settings.dagster_port),
        ("API", "TSOBS_API_PORT", settings.api_host, settings.api_port),
    )
    return [_port(*one) for one in wanted]


def _port(name: str, setting: str, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return Finding(
                name, "failed", f"{host} port {port} is not ours to use", f"set {setting} to 1024 or more"
            )
        except OSError as error:
            return _listening(name, setting, host, port, error.strerror or "")
    return Finding(name, "warning", f"nothing listens on {host} port {port}", "make up starts it")


def _listening(name: str, setting: str, host: str, port: int, why: str) -> Finding:
    import httpx  # noqa: PLC0415 - only where something listens

    target = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared only
    # The API's health is open to everybody, also where its other routes want a user of the tailnet.
    path, mark = ("server_info", "dagster_version") if name == "Dagster UI" else ("healthz", "parts")
    try:
        body = httpx.get(f"http://{target}:{port}/{path}", timeout=10, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        body = {}
    if isinstance(body, dict) and mark in body:
        version = str(body.get("dagster_version") or body.get("version") or "")
        return Finding(name, "ok", f"answers on {host} port {port}", version=version)
    return Finding(
        name, "failed", f"{host} port {port}: {why}, and it isn't tsobs", f"free it, or set {setting}"
    )
