"""One tick of a full day: cost of the asset's body for 3 and 200 nodes, with and without dead ones.

The journal is served by the real sidecar over HTTP, the store is SQLite. Each case is a process of its own,
so that its memory is its own. The work as the request describes it is in ``connections_round``.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from bench.harness import machine, peak_mb, table, timed
from tests.support.journals import NODES, round_line
from tests.support.sidecar_process import FAKE_TAILSCALE, Sidecar, fake_tailnet, running
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.timeseries.sql import SqlStore

START = datetime(2026, 11, 20, tzinfo=UTC)
DAY = START.date()
ROUNDS = 1440
NEW = 5
PINGS = 6
TRIALS = 5
MANY = tuple(f"node-{number}" for number in range(200))


def line(at: datetime, nodes: Sequence[str], dead: Sequence[str]) -> bytes:
    """A round in which the dead ones did not answer."""
    body = json.loads(round_line(at, nodes=nodes))
    body["pings"] |= {node: [{"Err": "no reply within 2 s"}] * PINGS for node in dead}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def serving(place: Path) -> Sidecar:
    """A sidecar over a fake CLI that takes no rounds of its own; its journal is what we write."""
    fake = fake_tailnet(place / "fake")
    settings = {
        "TAILSCALE_BIN": str(FAKE_TAILSCALE),
        "FAKE_TAILSCALE": str(fake.place),
        "SAMPLE_INTERVAL": "3600",
    }
    return Sidecar(place, settings)


def tick(place: Path, nodes: Sequence[str], dead: Sequence[str], answer: Connection) -> None:
    """Send median wall and CPU of collecting five new rounds onto an almost full day, and peak memory."""
    times = [START + timedelta(minutes=minute) for minute in range(ROUNDS)]
    before = ROUNDS - (TRIALS + 1) * NEW
    with running(serving(place)) as sidecar:
        with (sidecar.journal / f"{DAY}.ndjson").open("wb") as journal:
            for at in times[:before]:
                journal.write(line(at, nodes, dead))
        store = SqlStore(f"sqlite:///{place / 'store.db'}")
        coming = iter(times[before:])
        with TailscaleHealthService(sidecar.url) as service:
            collector = Collector(service, store, nodes, "default")
            collector.collect_day(DAY)

            def collect() -> None:
                with (sidecar.journal / f"{DAY}.ndjson").open("ab") as journal:
                    journal.writelines(line(next(coming), nodes, dead) for _ in range(NEW))
                report = collector.collect_new(DAY)
                assert (report.mode, report.rows_written) == ("incremental", NEW * len(nodes))

            wall, cpu = timed(collect, TRIALS)
            answer.send((wall, cpu, peak_mb()))


def case(nodes: Sequence[str], dead: Sequence[str]) -> tuple[float, float, float]:
    """One case in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as name:
        process = context.Process(target=tick, args=(Path(name), nodes, dead, theirs))
        process.start()
        found: tuple[float, float, float] = ours.recv()
        process.join()
    return found


def main() -> None:
    """Print the table."""
    print(f"{machine()}\n")
    rows = []
    for nodes, dead in [(NODES, ()), (NODES, NODES[:1]), (NODES, NODES), (MANY, ()), (MANY, MANY[:67])]:
        wall, cpu, peak = case(nodes, dead)
        rows.append((len(nodes), len(dead), f"{wall:.3f}", f"{cpu:.3f}", f"{peak:.0f}"))
    print(table(["nodes", "dead", "wall s", "CPU s", "peak MB"], rows))


if __name__ == "__main__":
    main()
