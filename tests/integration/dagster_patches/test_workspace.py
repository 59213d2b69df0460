"""The daemon's workspace reloads the code location when the code server changes, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.remote_representation.code_location import CodeLocation
from dagster._core.workspace.load_target import GrpcServerTarget

from tests.support.running import eventually
from tsobs_pipelines.dagster_patches.workspace import Workspace
from tsobs_pipelines.processes.probes import accepts_connections

CODE = """
import dagster as dg

@dg.job
def {job}():
    pass

defs = dg.Definitions(jobs=[{job}])
"""


@contextmanager
def code_server(place: Path, job: str) -> Iterator[None]:
    """A code server with one job, on the socket ``code.sock``."""
    (place / "code.py").write_text(CODE.format(job=job))
    (place / "code.sock").unlink(missing_ok=True)
    command = ["dagster", "api", "grpc", "--socket", str(place / "code.sock"), "-f", str(place / "code.py")]
    environment = os.environ | {"DAGSTER_DISABLE_TELEMETRY": "1"}
    server = subprocess.Popen([sys.executable, "-m", *command, "--location-name", "code"], env=environment)
    try:
        eventually(lambda: accepts_connections(str(place / "code.sock")), 60, "the code server answers")
        yield
    finally:
        server.kill()
        server.wait()


def location(workspace: Workspace) -> CodeLocation:
    """What the daemon's loops find."""
    return workspace.create_request_context().get_code_location("code")


def jobs(found: CodeLocation) -> set[str]:
    """The names of the location's jobs."""
    return {job.name for repository in found.get_repositories().values() for job in repository.get_all_jobs()}


@contextmanager
def workspace_of_daemon(place: Path) -> Iterator[Workspace]:
    """The daemon's workspace with that code server."""
    target = GrpcServerTarget(
        host="localhost", port=None, socket=str(place / "code.sock"), location_name="code"
    )
    with dg.DagsterInstance.local_temp(str(place)) as instance, Workspace(instance, target) as workspace:
        yield workspace


def test_the_location_is_read_when_its_server_is_another_one(tmp_path: Path) -> None:
    with ExitStack() as first:
        first.enter_context(code_server(tmp_path, "first"))
        with workspace_of_daemon(tmp_path) as workspace:
            before = location(workspace)
            workspace.refresh_workspace()
            assert location(workspace) is before
            first.close()
            # What is known stays known while the server is away.
            workspace.refresh_workspace()
            assert location(workspace) is before
            with code_server(tmp_path, "second"):
                assert jobs(location(workspace)) == {"first"}
                workspace.refresh_workspace()
                assert jobs(location(workspace)) == {"second"}
