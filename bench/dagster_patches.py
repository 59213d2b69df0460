"""CPU saved by each patch of Dagster: the patched operation with the patch and without it.

In one process, on an instance of its own, so that other work on the machine hardly matters. What the forks of
the code server save is seen in ``engine_run.py`` with ``TSOBS_DAGSTER_PATCHES=off``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

from bench.harness import machine, table
from tsobs_pipelines.dagster_patches.workspace import Workspace

TIMES = 30


@dg.job(executor_def=dg.in_process_executor)
def nothing() -> None:
    """A run without a step: a file of events is made."""


def instance_in(place: Path, storage: dict[str, object]) -> dg.DagsterInstance:
    """An instance with this storage."""
    place.mkdir(exist_ok=True)
    overrides = {"storage": storage, "telemetry": {"enabled": False}}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(place), overrides=overrides))


def cpu_ms(work: Callable[[], object]) -> float:
    """Median CPU of this process in ms over several calls, after one that does not count."""
    work()
    spent = []
    for _ in range(TIMES):
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return statistics.median(spent) * 1000


def reopen(place: Path, storage: dict[str, object]) -> None:
    """As the code server does for each evaluation of a sensor."""
    instance_in(place, storage).dispose()


def stock(place: Path) -> dict[str, object]:
    """Dagster's SQLite files as they come."""
    return {"sqlite": {"base_dir": str(place / "storage")}}


def ours(place: Path) -> dict[str, object]:
    """With an engine for each file."""
    module = "tsobs_pipelines.dagster_storage.sqlite"
    config = {"base_dir": str(place / "storage")}
    return {"custom": {"module": module, "class": "SqliteStorage", "config": config}}


def measure() -> dict[str, tuple[float, float]]:
    """CPU in ms without and with each change."""
    found: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        found.setdefault(name, []).append(cpu_ms(work))

    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for storage in (stock, ours):
            where = place / "storage"
            with instance_in(where, storage(where)) as instance:
                note("storage: a run without a step", lambda: nothing.execute_in_process(instance=instance))
                note(
                    "storage: ten questions for runs", lambda: [instance.get_runs(limit=1) for _ in range(10)]
                )
            note("storage: the instance opened", partial(reopen, where, storage(where)))
        with ExitStack() as stack:
            instance = stack.enter_context(instance_in(place / "workspace", ours(place / "workspace")))
            target = ModuleTarget("tsobs_pipelines.definitions", None, str(Path.cwd()), "tsobs")
            for kind in (WorkspaceProcessContext, Workspace):
                context = stack.enter_context(kind(instance, target))
                note("workspace: the location looked at, each minute", context.refresh_workspace)
    return {name: (values[0], values[1]) for name, values in found.items()}


def main() -> None:
    """Print the table."""
    print(machine())
    rows = [(name, f"{before:.1f}", f"{after:.1f}") for name, (before, after) in measure().items()]
    print(table(("what", "without, ms of CPU", "with"), rows))


if __name__ == "__main__":
    main()
