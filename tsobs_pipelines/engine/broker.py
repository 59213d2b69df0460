"""Celery's settings: which broker, which result backend, and how a worker behaves.

What belongs here: one mapping, used by the launcher (through ``dagster.yaml``) and by the workers alike.
What does not: Dagster.

On one machine broker and results are folders in the state directory (Celery's ``filesystem://`` transport
and ``file://`` backend): whoever can write there can run code, which is why the state directory is 0700
and only JSON is accepted. ``TSOBS_BROKER_URL`` names a Redis for many machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsobs_pipelines.engine.queues import DEFAULT_QUEUE
from tsobs_pipelines.settings import Settings

POLLING_INTERVAL_S = 0.25
"""How often a worker looks into the broker's folder: part of the delay of every run, and of idle CPU."""

VISIBILITY_TIMEOUT_S = 6 * 3600
"""Redis hands a task to another worker when it was not acknowledged for so long; longer than any run."""

RESULT_EXPIRES_S = 3600 * 24


@dataclass(frozen=True, slots=True)
class BrokerFolders:
    """The folders of the filesystem broker, all below the state directory."""

    root: Path

    @property
    def messages(self) -> Path:
        """Messages that wait."""
        return self.root / "messages"

    @property
    def taken(self) -> Path:
        """Messages that a worker took; on the same file system, so that taking is one rename."""
        return self.root / "taken"

    @property
    def control(self) -> Path:
        """Which queue listens to which exchange."""
        return self.root / "control"

    @property
    def results(self) -> Path:
        """One file a task with its state: what run monitoring looks at."""
        return self.root / "results"

    def make(self) -> None:
        """Create what is missing."""
        for folder in (self.messages, self.taken, self.control, self.results):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def broker_folders(settings: Settings) -> BrokerFolders:
    """The filesystem broker's folders for these settings."""
    return BrokerFolders((settings.state_dir / "broker").resolve())


def celery_arguments(settings: Settings) -> dict[str, object]:
    """The configuration of ``CeleryRunLauncher``, by its own names."""
    common: dict[str, object] = {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_track_started": True,
        # A worker holds the one task it works on and no other: nothing else is lost with it.
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
        "result_expires": RESULT_EXPIRES_S,
        "broker_connection_retry_on_startup": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_max_tasks_per_child": 500,
        "worker_max_memory_per_child": 600_000,
    }
    if settings.broker_url is not None:
        return {
            "broker": settings.broker_url,
            "backend": settings.broker_url,
            "default_queue": DEFAULT_QUEUE,
            "config_source": {
                **common,
                "broker_transport_options": {"visibility_timeout": VISIBILITY_TIMEOUT_S},
            },
        }
    folders = broker_folders(settings)
    transport: dict[str, object] = {
        "data_folder_in": str(folders.messages),
        "data_folder_out": str(folders.messages),
        "control_folder": str(folders.control),
        "store_processed": True,
        "processed_folder": str(folders.taken),
        "polling_interval": POLLING_INTERVAL_S,
    }
    return {
        "broker": "filesystem://",
        "backend": f"file://{folders.results}",
        "default_queue": DEFAULT_QUEUE,
        "config_source": {**common, "broker_transport_options": transport},
    }
