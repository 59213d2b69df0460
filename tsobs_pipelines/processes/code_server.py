"""Dagster's code server: serves the definitions and starts runs."""

from __future__ import annotations

import os

from dagster._cli.api import grpc_command

from tsobs_pipelines.dagster_storage.home import dagster_home, log_options
from tsobs_pipelines.settings import load_settings

MOST_CALLS = 8


def main() -> None:
    """Serve until told to end; runs that are under way are waited for."""
    settings = load_settings()
    socket = dagster_home(settings).socket
    socket.unlink(missing_ok=True)
    options = {
        "--socket": str(socket),
        "--module-name": "tsobs_pipelines.definitions",
        "--location-name": "tsobs",
        "--max-workers": str(MOST_CALLS),
        "--working-directory": os.getcwd(),  # noqa: PTH109 - as Dagster has it
        **log_options(settings),
    }
    grpc_command.main([word for option in options.items() for word in option], standalone_mode=False)
