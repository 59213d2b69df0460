"""CPU and memory of an idle tsobs: each process that ``tsobs up`` starts, on the demo tailnet.

First the minutes between two ticks, in which nothing runs but Dagster's daemon loops and sensors, then whole
cycles of the 5-minute schedule, with the seconds from the time of each tick until its rows can be read.
``--idle`` and ``--cycles`` say for how long each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench.harness import machine, proportional_mb, table
from tests.support.running import Running, eventually, running
from tests.support.watching import cpu_seconds, named_processes, runs, settled, tags_of

CYCLE_S = 300
QUIET_S = 75

MATERIALIZED = """query($id: ID!) {runOrError(runId: $id) {... on Run {
  assetMaterializations {timestamp assetKey {path}}}}}"""


def next_tick() -> float:
    """Seconds until the schedule fires again."""
    return CYCLE_S - time.time() % CYCLE_S


def spent(tsobs: Running, seconds: float) -> dict[str, float]:
    """CPU seconds of each process, and of what it started and waited for, over ``seconds``."""
    before = {pid: cpu_seconds(pid) for pid in named_processes(tsobs)}
    time.sleep(seconds)
    names = named_processes(tsobs)
    return {names[pid]: cpu_seconds(pid) - before.get(pid, 0.0) for pid in names}


def delays(tsobs: Running, since: float) -> list[float]:
    """Seconds from the time of each tick since then until its rows are in the store."""
    found = []
    for run in runs(tsobs):
        at = tags_of(run).get("tsobs/scheduled_at")
        if run["jobName"] != "collect_connections" or at is None or run["status"] != "SUCCESS":
            continue
        ticked = datetime.fromisoformat(at).timestamp()
        made = tsobs.graphql(MATERIALIZED, id=run["runId"])["runOrError"]
        assert isinstance(made, dict)
        found += [
            float(one["timestamp"]) / 1000 - ticked
            for one in made["assetMaterializations"]
            if one["assetKey"]["path"] == ["connection_metrics"] and ticked > since
        ]
    return sorted(found)


def measure(tsobs: Running, idle_s: float, cycles: int) -> str:
    """Both tables, as Markdown."""
    eventually(lambda: settled(tsobs, QUIET_S), 900, "the first filling is over")
    if next_tick() < idle_s + 15:
        time.sleep(next_tick() + 30)
    resting = spent(tsobs, idle_s)
    working, begun = {}, time.time()
    if cycles:
        time.sleep(max(next_tick() - 5, 0))
        working = spent(tsobs, cycles * CYCLE_S)
    memory = {name: proportional_mb([pid]) for pid, name in named_processes(tsobs).items()}
    rows = [
        (
            name,
            f"{resting.get(name, 0.0) * 60 / idle_s:.2f}",
            f"{working[name] * 60 / (cycles * CYCLE_S):.2f}" if name in working else "",
            f"{memory[name]:.0f}",
        )
        for name in sorted(memory, key=lambda name: -memory[name])
    ]
    total = (
        "all",
        f"{sum(resting.values()) * 60 / idle_s:.2f}",
        f"{sum(working.values()) * 60 / (cycles * CYCLE_S):.2f}" if cycles else "",
        f"{sum(memory.values()):.0f}",
    )
    header = ("process", "idle, CPU-s/min", "5-minute schedule, CPU-s/min", "PSS, MB")
    waited = delays(tsobs, begun)
    ticks = f"tick → rows readable, s: {[round(one, 2) for one in waited]}"
    if waited:
        ticks += f", median {statistics.median(waited):.2f}"
    return f"{table(header, [*rows, total])}\n\n{ticks}"


def main() -> None:
    """Start, measure, end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=float, default=150, help="seconds between ticks")
    parser.add_argument("--cycles", type=int, default=1, help="cycles of the schedule")
    chosen = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as tsobs:
        print(measure(tsobs, chosen.idle, chosen.cycles))


if __name__ == "__main__":
    main()
