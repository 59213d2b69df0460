"""The parts that ``make up`` keeps running: what each is started with, and how it shows that it is ready.

What belongs here: one entry for each process. What does not: starting and watching them
(``supervisor.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tsobs_pipelines.engine.home import Home, dagster_environment
from tsobs_pipelines.engine.probes import accepts_connections, accepts_on_socket
from tsobs_pipelines.engine.queues import QUEUES
from tsobs_pipelines.settings import Settings

READY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Part:
    """One process. ``ready`` says whether it serves; the parts that ``needs`` names must be ready first."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    ready: Callable[[], bool] | None = None


def parts(settings: Settings, home: Home) -> list[Part]:
    """Every part for these settings, in the order of their start."""
    python = sys.executable
    dagster_logs = ("--log-format", "json") if settings.log_format_json else ("--log-format", "colored")
    level = settings.log_level.lower()
    shared = dagster_environment(settings)
    return [
        Part(
            "code",
            [
                *(python, "-m", "tsobs_pipelines.engine.code", "api", "grpc", "--socket", str(home.socket)),
                *("--module-name", "tsobs_pipelines.definitions", "--location-name", "tsobs"),
                *("--log-level", level, *dagster_logs, "--max-workers", "8"),
            ],
            shared,
            ready=lambda: accepts_on_socket(home.socket),
        ),
        Part(
            "webserver",
            [
                *(python, "-m", "tsobs_pipelines.webserver", "--host", "127.0.0.1"),
                *("--port", str(settings.dagster_port), "--workspace", str(home.workspace)),
                *("--dagster-log-level", level, *dagster_logs),
            ],
            shared,
            needs=("code",),
            ready=lambda: accepts_connections("127.0.0.1", settings.dagster_port),
        ),
        Part(
            "daemon",
            [
                *(python, "-m", "tsobs_pipelines.engine.daemon", "--workspace", str(home.workspace)),
                *("--log-level", level, *dagster_logs),
            ],
            shared,
            needs=("code",),
        ),
        # They need no other part, but what people look at comes first.
        *(
            Part(queue, [python, "-m", "tsobs_pipelines.engine.worker", queue], shared, needs=("code",))
            for queue in QUEUES
        ),
        Part(
            "api",
            [python, "-m", "tsobs_pipelines.api"],
            ready=lambda: accepts_connections(settings.api_host, settings.api_port),
        ),
    ]
