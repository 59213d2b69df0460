"""Run workers without the rest of ``make up``: real processes, real broker, runs launched by the test itself.

What belongs here: a state directory with Dagster's home, workers on it, and runs. What does not: what is
asserted about them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from tests.support import engine_jobs
from tsobs_pipelines.engine.home import initialise_instance, prepare_state, write_home
from tsobs_pipelines.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass
class Workers:
    """Dagster's instance of one state directory, and the workers that were started on it."""

    settings: Settings
    environment: Mapping[str, str]
    instance: dg.DagsterInstance
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, queue: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a worker, for instance inside a network namespace (``prefix``)."""
        command = [*prefix, sys.executable, "-m", "tsobs_pipelines.engine.worker", queue]
        log = self.settings.state_dir / f"worker-{len(self.started)}.out"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(self.environment),
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def launch(self, job: str, queue: str = "ticks", seconds: float | None = None) -> str:
        """Launch a run of a job of ``tests/support/engine_jobs.py``; gives its id."""
        op = {"sleeping_job": "sleep", "stubborn_job": "stubborn"}.get(job)
        config = {"ops": {op: {"config": {"seconds": seconds}}}} if op else {}
        return self.launch_configured(job, config, queue)

    def launch_configured(self, job: str, config: Mapping[str, object], queue: str) -> str:
        """The same for any configuration of the run."""
        repository = ReconstructableRepository.for_module("tests.support.engine_jobs", "defs")
        origin = repository.get_reconstructable_job(job).get_python_origin()
        target = LoadableTargetOrigin(module_name="tests.support.engine_jobs", attribute="defs")
        location = InProcessCodeLocationOrigin(loadable_target_origin=target, location_name="tests")
        run = self.instance.create_run_for_job(
            engine_jobs.defs.resolve_job_def(job),
            run_config=config,
            tags={"dagster-celery/queue": queue},
            job_code_origin=origin,
            remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job),
        )
        # Our launcher asks no workspace.
        self.instance.launch_run(run.run_id, workspace=None)  # type: ignore[arg-type]
        return run.run_id

    def status(self, run_id: str) -> str:
        """What Dagster says of the run."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value


@contextmanager
def workers(state: Path, **settings: str) -> Iterator[Workers]:
    """A state directory that is ready for workers; those that were started are killed at the end."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TSOBS_", "DAGSTER_"))},
        **settings,
        "TSOBS_STATE_DIR": str(state),
        "DAGSTER_HOME": str(state / "dagster"),
    }
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    chosen = Settings()
    prepare_state(chosen, datetime.now(UTC).date())
    home = write_home(chosen)
    configuration = yaml.safe_load((home.root / "dagster.yaml").read_text("utf-8"))
    assert configuration["run_launcher"]["class"] == "RunLauncher"
    initialise_instance(chosen)
    try:
        with dg.DagsterInstance.get() as instance:
            made = Workers(chosen, environment, instance)
            try:
                yield made
            finally:
                for process in made.started:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
    finally:
        os.environ.clear()
        os.environ.update(before)
