"""Dagster's webserver as a process, behind the guard."""

from __future__ import annotations

import logging
from pathlib import Path

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from tsobs_pipelines.serving.server import serve
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.webserver.guard import guarded

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 10 * 2**20
"""Of a GraphQL request: a launch with its whole run configuration is some kB."""

# Dagster's own defaults for the database of a webserver.
STATEMENT_TIMEOUT_MS = 15_000
POOL_RECYCLE_S = 3600
POOL_OVERFLOW = 20


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
