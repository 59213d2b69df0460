"""One round of the sampler on a real tailnet, compared with a job that pings each node in turn.

The request's job pings each node in turn while it runs. Its command, ``tailscale ping --c 5``, ends at the
first direct pong and waits 5 s for each one that does not come; to get five samples, the sidecar's
``/ping/<host>`` asks for them, with 2 s each. As root, like the lab.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.harness import Meter, machine, meter
from tests.support.lab.runs import new_run
from tests.support.lab.sidecar import Sidecar, running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet, running_tailnet
from tsobs_pipelines.tailnet.client import PING_DEADLINE_S
from tsobs_pipelines.tailnet.transport import Request, SidecarTransport

TRIALS = 5
INTERVAL_S = 5


def session_of(pid: int) -> list[int]:
    """Every process of the session that ``pid`` leads."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            if int(fields[3]) == pid:
                found.append(int(entry.name))
    return found


def rounds_cpu(sidecar: Sidecar, group: Meter) -> float:
    """Median CPU seconds of all the sidecar's processes, and of their CLI calls, for one round."""
    for pid in session_of(sidecar.server.pid):
        with contextlib.suppress(OSError):
            (group.group / "cgroup.procs").write_text(str(pid))
    time.sleep(INTERVAL_S - time.time() % INTERVAL_S + INTERVAL_S - 1)
    spent = []
    for _ in range(TRIALS):
        before = group.seconds()
        time.sleep(INTERVAL_S)
        spent.append(group.seconds() - before)
    return statistics.median(spent)


def median_wall(work: Callable[[], object]) -> float:
    """Median wall seconds."""
    walls = []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        work()
        walls.append(time.perf_counter() - begun)
    return statistics.median(walls)


def in_turn(sidecar: Sidecar) -> None:
    """Five samples of each node, one node after the other."""
    transport = SidecarTransport(sidecar.url)
    for name in CRITICAL_NODES:
        transport.text(Request("/status", PING_DEADLINE_S))
        transport.text(Request(f"/ping/{name}", PING_DEADLINE_S))
    transport.close()


def as_written(tailnet: Tailnet) -> None:
    """The command of the request, one node after the other."""
    for name in CRITICAL_NODES:
        command = [str(tailnet.observer.command), "ping", "--c", "5", tailnet.node(name).ip]
        subprocess.run(command, capture_output=True, check=False)


def main() -> None:
    """Print the tables."""
    print(f"{machine()}\n")
    print("| work | median s |\n| --- | --- |", flush=True)
    settings = {"SAMPLE_INTERVAL": str(INTERVAL_S)}
    with (
        new_run() as run,
        running_tailnet(run) as tailnet,
        meter("round") as group,
        running_sidecar(run, tailnet.observer, "bench", settings) as sidecar,
    ):
        report("one sampler round, 3 nodes alive: CPU", rounds_cpu(sidecar, group))
        report("pinging in turn, 5 samples each, alive: wall", median_wall(lambda: in_turn(sidecar)))
        with tailnet.node(CRITICAL_NODES[0]).frozen():
            report("the same, 1 of 3 dead: wall", median_wall(lambda: in_turn(sidecar)))
            report("the command as written, 1 of 3 dead: wall", median_wall(lambda: as_written(tailnet)))


def report(work: str, seconds: float) -> None:
    """One row of the table, as soon as it is known: all of it takes five minutes."""
    print(f"| {work} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
