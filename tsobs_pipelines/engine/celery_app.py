"""The Celery application of the run workers: the task that executes a run, on this project's broker.

What belongs here: the application object that ``worker.py`` runs. What does not: settings of Celery, which
``broker.py`` holds for launcher and worker alike.
"""

from __future__ import annotations

from celery import Celery
from dagster_celery.make_app import make_app

from tsobs_pipelines.engine.broker import celery_arguments
from tsobs_pipelines.engine.execution import register
from tsobs_pipelines.settings import Settings


def celery_app(settings: Settings, worker: str) -> Celery:
    """The application of the worker with this name."""
    arguments = celery_arguments(settings, worker)
    app: Celery = make_app(  # type: ignore[no-untyped-call]
        {
            "broker": arguments["broker"],
            "backend": arguments["backend"],
            "config_source": arguments["config_source"],
            "task_default_queue": arguments["default_queue"],
        }
    )
    register(app)
    return app
