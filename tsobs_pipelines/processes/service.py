"""``tsobs run PART``: one part as a separate service, for containers and systemd."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import NoReturn

from filelock import FileLock, Timeout

from tsobs_pipelines.dagster_storage.configuration import write_home
from tsobs_pipelines.dagster_storage.home import Home, dagster_environment
from tsobs_pipelines.dagster_storage.initialise import initialise_instance
from tsobs_pipelines.forecasting.model_files import check_models_dir
from tsobs_pipelines.processes.children import READY_TIMEOUT_S
from tsobs_pipelines.processes.forking import call, name_process
from tsobs_pipelines.processes.parts import Part, parts
from tsobs_pipelines.processes.probes import accepts_connections
from tsobs_pipelines.processes.supervisor import Plan
from tsobs_pipelines.processes.up import become_supervisor, check_notify_urls
from tsobs_pipelines.settings import Settings, SettingsError
from tsobs_pipelines.state_directory import prepare_state
from tsobs_pipelines.upkeep.integrity import check_whole

WORKER = "worker"
GRACE_S = 55.0
"""How long a run that is under way may go on when the code server is told to end."""


def run_part(settings: Settings, name: str, *arguments: str) -> NoReturn:
    """Run this part with these arguments, after waiting for the parts it depends on.

    The code server brings a fork server for its runs. The webserver with a host that is not loopback knows no
    users, so whatever lies before it has to.

    Raises:
        SettingsError: the state directory can't be used, or a part that this one needs does not come up.
    """
    home = _prepare(settings)
    if name == WORKER:
        _become_worker(settings, *arguments)
    known = {part.name: part for part in parts(settings, home)}
    part = known[name]
    for needed in part.needs:
        _wait_for(known[needed])
    if name == "code" and settings.run_launcher == "default":
        plan = Plan((part,), str(home.fork_socket), time.monotonic(), grace_s=GRACE_S)
        become_supervisor(settings, plan, {})
    os.environ.update(dagster_environment(settings))
    os.environ["TSOBS_START_DATE"] = settings.start_date.isoformat()
    if name != "api" and settings.dagster_patches == "on":
        from tsobs_pipelines.dagster_patches import apply_all  # noqa: PLC0415 - the API has no need of Dagster

        apply_all()
    name_process(name)
    call(part.entry, *arguments)


def _become_worker(settings: Settings, *options: str) -> NoReturn:
    """Be dagster-celery's own worker, as its documentation starts it."""
    if settings.run_launcher != "celery":
        raise SettingsError(f"TSOBS_RUN_LAUNCHER={settings.run_launcher}: expected celery, for a worker")
    start = {"TSOBS_START_DATE": settings.start_date.isoformat()}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "dagster_celery.app",
        "worker",
        "-Q",
        "dagster",
        *options,
    ]
    os.execve(sys.executable, command, {**os.environ, **dagster_environment(settings), **start})  # noqa: S606


def _prepare(settings: Settings) -> Home:
    check_notify_urls(settings)
    prepare_state(settings, datetime.now(UTC).date())
    check_models_dir(settings)
    # Parts that start together on an empty directory would race in Dagster's migrations.
    lock = FileLock(settings.state_dir / "dagster" / "initialise.lock", timeout=READY_TIMEOUT_S)
    try:
        with lock:
            check_whole(filter(None, [settings.database_file]))
            home = write_home(settings)
            initialise_instance(settings)
    except Timeout:
        raise SettingsError(
            f"{settings.state_dir}: another part prepares it for {READY_TIMEOUT_S:g} s: is it stuck?"
        ) from None
    return home


def _wait_for(part: Part) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while part.address is not None and not accepts_connections(part.address):
        if time.monotonic() > deadline:
            raise SettingsError(
                f"{part.name} does not answer after {READY_TIMEOUT_S:g} s: is its service running?"
            )
        time.sleep(0.2)
