"""A fork server in a state directory of its own, started as the supervisor starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.running import ROOT, eventually, up_environment
from tsobs_pipelines.dagster_storage.configuration import write_home
from tsobs_pipelines.dagster_storage.home import dagster_environment, dagster_home
from tsobs_pipelines.dagster_storage.initialise import initialise_instance
from tsobs_pipelines.processes.up import FORK_ENVIRONMENT
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.state_directory import prepare_state


@dataclass
class Family:
    """The process that has started a fork server and one fork, and their process ids."""

    parent: subprocess.Popen[bytes]
    server: int
    first: int

    def next_fork(self) -> int:
        """The process id of the fork that takes the place of one that has ended."""
        assert self.parent.stdout is not None
        return int(self.parent.stdout.readline())


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def forked(place: Path, function: str, argument: str) -> Iterator[Family]:
    """A fork server with a fork that calls ``function`` of ``forked.py``; sets this process's environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in up_environment(place / "var").items():
            patch.setenv(name, value)
        settings = load_settings()
        prepare_state(settings, settings.start_date)
        write_home(settings)
        initialise_instance(settings)
        for name, value in (dagster_environment(settings) | FORK_ENVIRONMENT).items():
            patch.setenv(name, value)
        command = [sys.executable, "-m", "tests.support.fork_parent", str(dagster_home(settings).fork_socket)]
        # As by a shell's background job: SIGINT is ignored, and would stay so.
        ignored = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command, function, argument]
        process = subprocess.Popen(ignored, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE)
        assert process.stdout is not None
        server = int(process.stdout.readline())
        try:
            yield Family(process, server, int(process.stdout.readline()))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            eventually(lambda: not is_running(server), 10, "the fork server has ended")
