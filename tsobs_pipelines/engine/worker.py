"""A run worker: ``tsobs run ticks``.

What belongs here: the start of one long-lived Celery worker for one queue. Before it takes work it ends the
runs that dead workers of this machine left behind (``reaper.py``) and gives back the messages that they had
taken. Code is imported once, before the pool processes are forked, so that they share its memory and a run
imports nothing.
"""

from __future__ import annotations

import gc
import logging
import sys

import click
from celery import Celery
from dagster import DagsterInstance

from tsobs_pipelines.engine.broker import BrokerFolders, broker_folders
from tsobs_pipelines.engine.celery_app import celery_app
from tsobs_pipelines.engine.folders import give_back
from tsobs_pipelines.engine.migrations import read_migrations_once
from tsobs_pipelines.engine.presence import beat, living, new_name, take_the_dead
from tsobs_pipelines.engine.queues import QUEUES, Queue
from tsobs_pipelines.engine.reaper import reap
from tsobs_pipelines.logs.context import log_context
from tsobs_pipelines.logs.setup import setup_logging
from tsobs_pipelines.settings import load_settings

log = logging.getLogger(__name__)


def clear_up(instance: DagsterInstance, app: Celery, folders: BrokerFolders) -> None:
    """Hand on what dead workers of this machine were working on."""
    for dead in take_the_dead(folders.workers):
        for run_id in reap(instance, app, dead):
            log.warning("ended a dead worker's run", extra={"run_id": run_id, "worker": dead})
        for queue in give_back(folders.root, dead):
            log.warning("gave back a dead worker's message", extra={"queue": queue, "worker": dead})


def run_worker(queue: Queue, processes: int) -> int:
    """Run until told to stop; returns the exit status."""
    settings = load_settings()
    setup_logging(json_format=settings.log_format_json)
    import tsobs_pipelines.definitions  # noqa: F401, PLC0415 - after the settings, whose errors come at once

    read_migrations_once()
    worker = new_name(queue)
    app = celery_app(settings, worker)
    folders = broker_folders(settings)
    with log_context(part=queue), living(folders.workers, worker):
        with DagsterInstance.get() as instance:
            clear_up(instance, app, folders)
        gc.collect()
        gc.freeze()
        ended = beat(app.backend, worker)
        app.worker_main(
            [
                "--quiet",
                "worker",
                f"--queues={queue}",
                f"--concurrency={processes}",
                f"--hostname={worker}",
                "--pool=prefork",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
                "--loglevel=WARNING",
            ]
        )
        ended.set()
    return 0


@click.command()
@click.argument("queue", type=click.Choice(QUEUES))
@click.option("--processes", default=1, show_default=True, help="Runs at a time.")
def main(queue: Queue, processes: int) -> None:
    """Execute Dagster's runs of one queue."""
    sys.exit(run_worker(queue, processes))


if __name__ == "__main__":
    main()
