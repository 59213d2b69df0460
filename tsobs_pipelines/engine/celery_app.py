"""The Celery application of the run workers: dagster-celery's tasks on this project's broker.

What belongs here: the application object that ``worker.py`` runs. What does not: settings of Celery, which
``broker.py`` holds for launcher and worker alike.
"""

from __future__ import annotations

from celery import Celery
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from tsobs_pipelines.engine.broker import celery_arguments
from tsobs_pipelines.settings import Settings


def celery_app(settings: Settings) -> Celery:
    """The application, with the tasks that execute and resume a run."""
    arguments = celery_arguments(settings)
    app: Celery = make_app(  # type: ignore[no-untyped-call]
        {
            "broker": arguments["broker"],
            "backend": arguments["backend"],
            "config_source": arguments["config_source"],
            "task_default_queue": arguments["default_queue"],
        }
    )
    create_execute_job_task(app)
    create_resume_job_task(app)
    return app
