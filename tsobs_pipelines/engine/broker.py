"""Celery's settings: which broker, which result backend, and how a worker behaves.

What belongs here: one mapping, used by the launcher (through ``dagster.yaml``) and by the workers alike.
What does not: Dagster.

On one machine broker and results are folders in the state directory (``folders.py``): whoever can write there
can run code, which is why the state directory is 0700 and only JSON is accepted. ``TSOBS_BROKER_URL`` names a
Redis for many machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kombu.transport import TRANSPORT_ALIASES

from tsobs_pipelines.engine.queues import DEFAULT_QUEUE
from tsobs_pipelines.settings import Settings

TRANSPORT_ALIASES["folders"] = "tsobs_pipelines.engine.folders:FolderTransport"

RESULTS = "tsobs_pipelines.engine.folders:ResultFolder"

POOL = "tsobs_pipelines.engine.pool:RobustTaskPool"

VISIBILITY_TIMEOUT_S = 6 * 3600
"""Redis hands a task to another worker when it was not acknowledged for so long; longer than any run."""

RESULT_EXPIRES_S = 3600 * 24


@dataclass(frozen=True, slots=True)
class BrokerFolders:
    """The folders of the filesystem broker, all below the state directory."""

    root: Path

    @property
    def workers(self) -> Path:
        """The lock of each worker of this machine."""
        return self.root / "workers"

    @property
    def results(self) -> Path:
        """One file a task with its state: what run monitoring looks at."""
        return self.root / "results"

    def make(self) -> None:
        """Create what is missing."""
        for folder in (self.workers, self.results):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def broker_folders(settings: Settings) -> BrokerFolders:
    """The filesystem broker's folders for these settings."""
    return BrokerFolders((settings.state_dir / "broker").resolve())


def celery_arguments(settings: Settings, worker: str | None = None) -> dict[str, object]:
    """The configuration of ``CeleryRunLauncher``, by its own names; ``worker`` is a worker's own."""
    common: dict[str, object] = {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_track_started": True,
        # A worker holds the one task it works on and no other: nothing else is lost with it.
        "worker_prefetch_multiplier": 1,
        "worker_pool": POOL,
        "task_acks_late": True,
        "result_expires": RESULT_EXPIRES_S,
        "broker_connection_retry_on_startup": True,
        # Runs are ended through Dagster (``execution.py``); nobody listens to a worker's events.
        "worker_enable_remote_control": False,
        # A pool process that died sent no result that is still on its way: we use no network there.
        "worker_lost_wait": 2.0,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_max_tasks_per_child": 500,
        # In kB. A process is born with 150 MB, most of them its parent's as well; once it has forecast it has
        # 250 MB of its own, which it would keep for as long as it has nothing to do.
        "worker_max_memory_per_child": 220_000,
    }
    if settings.broker_url is not None:
        return {
            "broker": settings.broker_url.get_secret_value(),
            "backend": settings.broker_url.get_secret_value(),
            "default_queue": DEFAULT_QUEUE,
            "config_source": {
                **common,
                "broker_transport_options": {"visibility_timeout": VISIBILITY_TIMEOUT_S},
            },
        }
    folders = broker_folders(settings)
    transport = {"folder": str(folders.root)} | ({"worker": worker} if worker else {})
    return {
        "broker": "folders://",
        "backend": f"{RESULTS}+file://{folders.results}",
        "default_queue": DEFAULT_QUEUE,
        "config_source": {**common, "broker_transport_options": transport},
    }
