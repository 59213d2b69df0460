"""Dagster's webserver: the UI and its GraphQL API."""

from __future__ import annotations

import logging

from dagster._utils.log import configure_loggers

from tsobs_pipelines.dagster_storage.home import dagster_home, log_options
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.webserver.serve import serve_dagster


def main(host: str = "127.0.0.1") -> None:
    """Serve on this address, at the port of the settings, until told to end."""
    settings = load_settings()
    configure_loggers(formatter=log_options(settings)["--log-format"], log_level=settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    serve_dagster(settings, dagster_home(settings).workspace, host, settings.dagster_port)
