"""Dagster's webserver as a process, behind the guard: the UI and its GraphQL API."""

from __future__ import annotations

import logging
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from tsobs_pipelines.dagster_storage.home import dagster_home, log_options
from tsobs_pipelines.serving.server import serve
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.webserver.guard import guarded

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 10 * 2**20
"""Of a GraphQL request: a launch with its whole run configuration is some kB."""

# Dagster's own defaults for the database of a webserver.
STATEMENT_TIMEOUT_MS = 15_000
POOL_RECYCLE_S = 3600
POOL_OVERFLOW = 20


def main(host: str = "127.0.0.1") -> None:
    """Serve on this address, at the port of the settings, until told to end."""
    settings = load_settings()
    configure_loggers(formatter=log_options(settings)["--log-format"], log_level=settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    serve_dagster(settings, dagster_home(settings).workspace, host, settings.dagster_port)


def serve_dagster(settings: Settings, workspace: Path, host: str, port: int) -> None:
    """Serve Dagster's UI and GraphQL on this address until told to stop; ``DAGSTER_HOME`` says of what.

    Raises:
        OSError: it can't listen there.
    """
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_OVERFLOW)
        target = WorkspaceFileTarget([str(workspace)])
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            app = create_app_from_workspace_process_context(context)
            logger.info("Dagster on %s", settings.dagster_url)
            serve(guarded(app, settings, host), host, port, MAX_BODY_BYTES)
