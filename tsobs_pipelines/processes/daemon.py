"""Dagster's daemon: schedules, sensors, the queue of runs, monitoring, retries, backfills."""

from __future__ import annotations

from dagster._daemon.cli import run_command

from tsobs_pipelines.dagster_patches import clock
from tsobs_pipelines.dagster_storage.home import dagster_home, log_options
from tsobs_pipelines.settings import load_settings


def main() -> None:
    """Run the daemon's loops until told to end."""
    settings = load_settings()
    if settings.dagster_patches == "on":
        clock.outlive_a_step_back()
    options = {"--workspace": str(dagster_home(settings).workspace), **log_options(settings)}
    run_command.main([word for option in options.items() for word in option], standalone_mode=False)
