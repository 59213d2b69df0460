"""``connection-stats`` of healthy nodes, live, on the lab's real tailnet: pings and all (root)."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench.harness import machine, table
from tests.support.api_world import api_of, parts_of, settings_of
from tests.support.lab.runs import new_run
from tests.support.lab.sidecar import running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, running_tailnet

ROUNDS = 10
PAUSE_S = 1.1
"""Longer than an answer is shared: each one is measured."""


def main() -> None:
    """Print the table."""
    print(f"{machine()}\n")
    with (
        new_run() as run,
        running_tailnet(run) as tailnet,
        running_sidecar(run, tailnet.observer, settings={"SAMPLE_INTERVAL": "60"}) as sidecar,
        tempfile.TemporaryDirectory() as name,
        api_of(parts_of(settings_of(Path(name), sidecar_url=sidecar.url), sidecar.url)) as api,
    ):
        times: list[float] = []
        for _ in range(ROUNDS):
            for node in CRITICAL_NODES:
                begun = time.perf_counter()
                answer = api.get(f"/health-monitoring/connection-stats/{node}")
                times.append((time.perf_counter() - begun) * 1000)
                assert answer.json()["connection_stats"]["connection_type"] == "direct", answer.text
            time.sleep(PAUSE_S)
    figures = [f"{value:.0f}" for value in (statistics.median(times), max(times))]
    print(table(["requests", "median ms", "highest ms"], [(len(times), *figures)]))
    print("\nas requested, five pings a second apart: 5 s")


if __name__ == "__main__":
    main()
