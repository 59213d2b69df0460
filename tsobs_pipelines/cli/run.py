"""``tsobs run PART``: one part of ``tsobs up`` in the foreground, for containers and systemd."""

from __future__ import annotations

import click

from tsobs_pipelines.settings import load_settings

_PARTS = ("code", "webserver", "daemon", "api", "worker")


@click.command()
@click.argument("part", type=click.Choice(_PARTS))
@click.option("--host", help="Address that the webserver listens on; it has no authentication.")
@click.option("--processes", type=click.IntRange(1, 64), help="Concurrent runs of a worker; 1 by default.")
def run(part: str, host: str | None, processes: int | None) -> None:
    """Run one PART as a separate service; `tsobs up` runs all of them except `worker`.

    A `worker` executes runs, on this machine or another one, with TSOBS_RUN_LAUNCHER=celery.
    """
    if host is not None and part != "webserver":
        raise click.UsageError("--host is the webserver's; the API has TSOBS_API_HOST")
    if processes is not None and part != "worker":
        raise click.UsageError("--processes is the worker's")
    settings = load_settings()
    from tsobs_pipelines.processes.service import run_part  # noqa: PLC0415 - other commands start nothing

    arguments = [host] if host else []
    run_part(settings, part, *(["--concurrency", str(processes or 1)] if part == "worker" else arguments))
