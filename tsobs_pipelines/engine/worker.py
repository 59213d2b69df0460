"""A run worker: ``python -m tsobs_pipelines.engine.worker ticks``.

What belongs here: the start of one long-lived Celery worker for one queue. Before it takes work it ends the
runs that its predecessor left behind (``reaper.py``). Code is imported once, before the pool processes are
forked, so that they share its memory and a run imports nothing.
"""

from __future__ import annotations

import gc
import logging
import socket
import sys

import click

from tsobs_pipelines.engine.celery_app import celery_app
from tsobs_pipelines.engine.queues import QUEUES, Queue
from tsobs_pipelines.engine.reaper import reap
from tsobs_pipelines.logs.setup import setup_logging
from tsobs_pipelines.settings import load_settings

log = logging.getLogger(__name__)


def node_name(queue: Queue) -> str:
    """The name by which Celery knows the one worker of this queue on this machine."""
    return f"{queue}@{socket.gethostname()}"


def run_worker(queue: Queue, processes: int) -> int:
    """Run until told to stop; returns the exit status."""
    settings = load_settings()
    setup_logging(json_format=settings.log_format_json)
    import dagster as dg  # noqa: PLC0415 - after the settings, whose errors come at once

    import tsobs_pipelines.definitions  # noqa: F401, PLC0415 - shared with the pool processes

    app = celery_app(settings)
    with dg.DagsterInstance.get() as instance:
        for run_id in reap(instance, app, queue, node_name(queue)):
            log.warning("ended a run that the previous worker left behind", extra={"run_id": run_id})
    gc.collect()
    gc.freeze()
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--queues={queue}",
            f"--concurrency={processes}",
            f"--hostname={node_name(queue)}",
            "--pool=prefork",
            "--without-gossip",
            "--without-mingle",
            "--loglevel=WARNING",
        ]
    )
    return 0


@click.command()
@click.argument("queue", type=click.Choice(QUEUES))
@click.option("--processes", default=1, show_default=True, help="Runs at a time.")
def main(queue: Queue, processes: int) -> None:
    """Execute Dagster's runs of one queue."""
    sys.exit(run_worker(queue, processes))


if __name__ == "__main__":
    main()
