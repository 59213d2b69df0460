"""``python -m tsobs_pipelines.webserver``: Dagster's webserver behind the guard, as ``make up`` starts it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click
from dagster._utils.log import configure_loggers

from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.webserver.serve import serve_dagster


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, required=True)
@click.option("--workspace", type=click.Path(path_type=Path), required=True)
@click.option("--dagster-log-level", default="info")
@click.option("--log-format", default="colored")
def main(host: str, port: int, workspace: Path, dagster_log_level: str, log_format: str) -> None:
    """Serve Dagster's UI and GraphQL."""
    os.environ["PYTHONWARNINGS"] = "ignore"
    configure_loggers(formatter=log_format, log_level=dagster_log_level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    serve_dagster(load_settings(), workspace, host, port)


if __name__ == "__main__":
    main()
