"""Checks of this machine: state directory, disk, models, ports, settings."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tsobs_pipelines.doctor.findings import Finding, Level
from tsobs_pipelines.serving.listening import ABOUT_THE_PORT, why_not_free
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
        _Server(
            "Dagster UI",
            "TSOBS_DAGSTER_PORT",
            "127.0.0.1",
            settings.dagster_port,
            f"http://127.0.0.1:{settings.dagster_port}/server_info",
            "dagster_version",
        ),
        # The API's health is open to everybody, also where its other routes want a user of the tailnet.
        _Server(
            "API",
            "TSOBS_API_PORT",
            settings.api_host,
            settings.api_port,
            f"{settings.api_url}/healthz",
            "parts",
        ),
    )
    return [_port(one) for one in wanted]


class _Server(NamedTuple):
    """What listens: the setting of its port, and the route whose answer has a key that only its own has."""

    name: str
    setting: str
    host: str
    port: int
    route: str
    mark: str


def _port(server: _Server) -> Finding:
    where = f"{server.host} port {server.port}"
    error = why_not_free(server.host, server.port)
    if error is None:
        return Finding(server.name, "warning", f"nothing listens on {where}", "make up starts it")
    if isinstance(error, PermissionError):
        remedy = f"set {server.setting} to 1024 or more"
        return Finding(server.name, "failed", f"{where} is not ours to use", remedy)
    if error.errno not in ABOUT_THE_PORT:
        remedy = "set TSOBS_API_HOST to an address of this machine"
        return Finding(server.name, "failed", f"{where}: {error.strerror}", remedy)
    return _listening(server, where, error.strerror or "")


def _listening(server: _Server, where: str, why: str) -> Finding:
    import httpx  # noqa: PLC0415 - only where something listens

    try:
        body = httpx.get(server.route, timeout=10, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        body = {}
    if isinstance(body, dict) and server.mark in body:
        version = str(body.get("dagster_version") or body.get("version") or "")
        return Finding(server.name, "ok", f"answers on {where}", version=version)
    remedy = f"free it, or set {server.setting}"
    return Finding(server.name, "failed", f"{where}: {why}, and it isn't tsobs", remedy)
