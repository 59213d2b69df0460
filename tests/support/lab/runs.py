"""A run of the lab: its directory, its name, and the leftovers of runs that died."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tests.support.lab.processes import run

NAMESPACE_PREFIX = "tsobs-"


@dataclass(frozen=True)
class Run:
    """One living run of the lab.

    Attributes:
        name: Short and unique on this machine, made of ``[a-z0-9_]``.
        directory: All its files; readable by other users, because Postgres runs as one.
    """

    name: str
    directory: Path

    def namespace(self, host: str) -> str:
        """Name of the network namespace of ``host`` in this run."""
        return f"{NAMESPACE_PREFIX}{self.name}-{host}"

    def place(self, name: str) -> Path:
        """A directory of this run for the part called ``name``, made when it is not there."""
        place = self.directory / name
        place.mkdir(exist_ok=True)
        return place


@contextlib.contextmanager
def new_run() -> Iterator[Run]:
    """A new run, whose files and namespaces go when the block ends; sweeps up after dead runs first."""
    root = Path(tempfile.gettempdir()) / "tsobs-lab"
    root.mkdir(exist_ok=True)
    # Between making a directory and locking it, it would look dead to another sweeper.
    with FileLock(root / ".lock"):
        sweep(root)
        directory = Path(tempfile.mkdtemp(dir=root))
        directory.chmod(0o755)
        alive = FileLock(_lock_of(directory))
        alive.acquire()
    run_of_now = Run(directory.name.removeprefix(tempfile.gettempprefix()), directory)
    try:
        yield run_of_now
    finally:
        _remove(run_of_now)
        alive.release()


def sweep(root: Path) -> None:
    """Remove what runs left behind whose process is gone; a run whose lock is held is left alone."""
    for directory in root.iterdir():
        if not directory.is_dir():
            continue
        with contextlib.suppress(Timeout), FileLock(_lock_of(directory), timeout=0):
            _remove(Run(directory.name.removeprefix(tempfile.gettempprefix()), directory))


def _lock_of(directory: Path) -> Path:
    """Beside the directory, so that the directory can be removed while the lock is held."""
    return directory.with_suffix(".lock")


def _remove(dead: Run) -> None:
    for namespace in _namespaces(dead):
        for pid in run(["ip", "netns", "pids", namespace]).split():
            # Only members of a namespace that this very run made: no other process is ever in it.
            subprocess.run(["kill", "-KILL", pid], check=False, capture_output=True)
        run(["ip", "netns", "delete", namespace])
    shutil.rmtree(dead.directory, ignore_errors=True)
    _lock_of(dead.directory).unlink(missing_ok=True)


def _namespaces(owner: Run) -> list[str]:
    if shutil.which("ip") is None:
        return []
    listed = (line.split()[0] for line in run(["ip", "netns", "list"]).splitlines() if line.strip())
    return [name for name in listed if name.startswith(owner.namespace(""))]
