"""Shared by the benchmarks: the machine, medians, tables, and the CPU of a process tree."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CPUACCT = Path("/sys/fs/cgroup/cpuacct")
GROUP_ENDS_WITHIN_S = 20


def machine() -> str:
    """One line about where the numbers are from."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(' --- ' for _ in header)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])


def timed(work: Callable[[], object], times: int = 5) -> tuple[float, float]:
    """Median wall and CPU seconds of this process over ``times`` calls, after one that does not count."""
    work()
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def peak_mb() -> float:
    """The most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def proportional_mb(pids: Sequence[int]) -> float:
    """Proportional set size of the processes together, in MB: shared pages are counted once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


@dataclass(frozen=True)
class Meter:
    """CPU of a tree of processes, ended ones included: a control group (root, cgroup v1)."""

    group: Path

    def seconds(self) -> float:
        """CPU seconds so far."""
        return int((self.group / "cpuacct.usage").read_text()) / 1e9

    def join(self) -> None:
        """Put the calling process, and all that it starts, into the group."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def meter(name: str) -> Iterator[Meter]:
    """A meter of its own, gone when the block ends and its processes have ended."""
    group = CPUACCT / f"tsobs-bench-{os.getpid()}-{name}"
    group.mkdir()
    try:
        yield Meter(group)
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove a control group; what was started in it may take a moment to end after who started it."""
    deadline = time.monotonic() + GROUP_ENDS_WITHIN_S
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
