"""Warms up the fork server: imports everything, and executes the tick's job once.

A first run imports late, and has SQLAlchemy compile its statements; what has been done here is done in every
fork. Nothing of it stays open: one thread, no channel, no database.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import yaml

import tsobs_pipelines.api.__main__
import tsobs_pipelines.logs.collector
import tsobs_pipelines.processes.code_server
import tsobs_pipelines.processes.daemon
import tsobs_pipelines.webserver.serve  # noqa: F401 - all of these are the parts
from tsobs_pipelines.dagster_patches import apply_all
from tsobs_pipelines.dagster_storage.configuration import instance_configuration
from tsobs_pipelines.dagster_storage.home import dagster_home
from tsobs_pipelines.database import close_engines, forget_engines
from tsobs_pipelines.definitions import defs
from tsobs_pipelines.defs.tailnet.assets import SCHEDULED_TAG, tick_job
from tsobs_pipelines.demo.server import Clock, DemoServer
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

TICK = timedelta(minutes=5)


@dataclass(frozen=True)
class WarmParts:
    """What takes the place of the resources ``store`` and ``sidecar``."""

    store: TimeSeriesStore
    sidecar: TailscaleHealthService

    def get(self) -> TimeSeriesStore:
        """As ``StoreResource``."""
        return self.store

    def of(self, _tailnet: Tailnet) -> TailscaleHealthService:
        """As ``SidecarResource``."""
        return self.sidecar


def warm_up() -> None:
    """Prepare this process for forking.

    Raises:
        RuntimeError: there is a thread beside this one, which a fork would not have.
    """
    settings = load_settings()
    if settings.dagster_patches == "on":
        apply_all()
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            rehearse(settings)
    except Exception:  # noqa: BLE001 - only the first runs would be slower
        print(printed.getvalue(), file=sys.stderr)  # noqa: T201 - filed like all that the fork server prints
        traceback.print_exc()
    forget_engines()
    with dg.DagsterInstance.get() as instance:
        instance.get_runs(limit=1)
        instance.all_instigator_state()
    close_engines()
    if others := threading.enumerate()[1:]:
        msg = f"threads before the fork: {others}"
        raise RuntimeError(msg)


def rehearse(settings: Settings) -> None:
    """Execute the tick's job on an instance, a store and a simulated tailnet of its own.

    It is the second tick of a day: the store has five minutes of the day, and it collects the next five.
    """
    tailnet, now = settings.first_tailnet, Window.of_day(datetime.now(UTC).date()).start + TICK
    job = defs.get_repository_def().get_job(tick_job(tailnet).name)
    with (
        tempfile.TemporaryDirectory(prefix="tsobs-warm-") as place,
        _instance(Path(place), settings) as instance,
        simulated_sidecar(lambda: now) as url,
        TailscaleHealthService(url, None, tailnet.critical_nodes) as sidecar,
    ):
        parts = WarmParts(SqlStore(f"sqlite:///{place}/tsobs.db"), sidecar)
        Collector(sidecar, parts.store, tailnet.critical_nodes, tailnet.name).collect_day(now.date())
        now += TICK
        job.execute_in_process(
            instance=instance,
            partition_key=now.date().isoformat(),
            tags={SCHEDULED_TAG: now.isoformat()},
            resources={"store": parts, "sidecar": parts},
        )


@contextmanager
def _instance(place: Path, settings: Settings) -> Iterator[dg.DagsterInstance]:
    own = settings.model_copy(update={"state_dir": place, "dagster_database_url": None})
    # Without the handlers that write the logs of runs: this run is not a user's.
    configuration = {key: value for key, value in instance_configuration(own).items() if key != "python_logs"}
    home = dagster_home(own)
    home.root.mkdir()
    if (pristine := dagster_home(settings).pristine).is_dir():
        shutil.copytree(pristine, home.storage)
    (home.root / "dagster.yaml").write_text(yaml.safe_dump(configuration), "utf-8")
    with dg.DagsterInstance.from_config(str(home.root)) as instance:
        yield instance


@contextmanager
def simulated_sidecar(clock: Clock) -> Iterator[str]:
    """The URL of the demo tailnet, served by threads that have ended when the block has."""
    before = threading.active_count()
    with DemoServer(0, clock=clock) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield server.url
        finally:
            server.shutdown()
    # Those of the connections end when their client closes them.
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
