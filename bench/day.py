"""Cost of a day of monitoring: CPU, memory, disk and network, compared with Prometheus on as many targets.

Both sides run at the same time for ``--minutes``, each in a control group of its own. ``tsobs up`` reads the
journal of a sidecar that this program plays, a round a minute of ``--nodes`` nodes; taking the rounds is not
in it (``connections_round`` measures that). Beside it Prometheus, blackbox_exporter and Alertmanager, from
Debian's packages, ping the same number of addresses of this machine once a minute, with one rule. Figures of
a day are those of the minutes, multiplied; disk is before the night's housekeeping (``ninety_days``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.harness import Meter, machine, meter, proportional_mb, table
from tests.support.growing_sidecar import GrowingSidecar
from tests.support.journals import minutes
from tests.support.ports import free_port
from tests.support.running import eventually, running
from tests.support.sidecars import served
from tests.support.watching import RUNS, settled

DAY_MINUTES = 24 * 60
HISTORY_MINUTES = 30
TICK_S = 300


class Sidecar(GrowingSidecar):
    """A sidecar that takes a round each minute, when it is asked."""

    def __init__(self, nodes: int) -> None:
        super().__init__([f"node-{number}" for number in range(nodes)])
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        self.take(minutes(now - timedelta(minutes=HISTORY_MINUTES), HISTORY_MINUTES))
        self._lock = threading.Lock()

    def answer(self, path: str) -> bytes | None:
        """The body for a path with its query; None when there is no such path."""
        with self._lock:
            while self.last + timedelta(minutes=1) <= datetime.now(UTC):
                self.take([self.last + timedelta(minutes=1)])
        return super().answer(path)


@dataclass(frozen=True)
class Side:
    """One side: its meter and where it keeps its files."""

    name: str
    meter: Meter
    place: Path

    def memory_mb(self) -> float:
        """Proportional set size of its processes now."""
        return proportional_mb(
            [int(pid) for pid in (self.meter.group / "cgroup.procs").read_text("ascii").split()]
        )

    def disk(self) -> int:
        """Bytes of its files now."""
        command = ["du", "--summarize", "--bytes", str(self.place)]
        return int(subprocess.run(command, capture_output=True, check=False).stdout.split()[0])


PROBES = """
global: {{scrape_interval: 60s, evaluation_interval: 60s}}
rule_files: [rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}
scrape_configs:
  - job_name: ping
    metrics_path: /probe
    params: {{module: [icmp]}}
    static_configs: [{{targets: {targets}}}]
    relabel_configs:
      - {{source_labels: [__address__], target_label: __param_target}}
      - {{source_labels: [__param_target], target_label: instance}}
      - {{target_label: __address__, replacement: "127.0.0.1:{exporter}"}}
"""
RULES = """
groups:
  - name: nodes
    rules: [{alert: slow, expr: "probe_icmp_duration_seconds{phase='rtt'} > 0.1", for: 5m}]
"""


@contextlib.contextmanager
def prometheus(place: Path, nodes: int) -> Iterator[Side]:
    """Prometheus, blackbox_exporter and Alertmanager at work."""
    targets = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(nodes)]
    server, exporter, alertmanager = free_port(), free_port(), free_port()
    config = PROBES.format(targets=json.dumps(targets), exporter=exporter, alertmanager=alertmanager)
    (place / "prometheus.yml").write_text(config)
    (place / "rules.yml").write_text(RULES)
    (place / "blackbox.yml").write_text("modules: {icmp: {prober: icmp, timeout: 5s}}\n")
    (place / "alertmanager.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    data = place / "data"
    data.mkdir()
    commands = (
        [
            "prometheus",
            f"--config.file={place}/prometheus.yml",
            f"--storage.tsdb.path={data}/prometheus",
            f"--web.listen-address=127.0.0.1:{server}",
        ],
        [
            "prometheus-blackbox-exporter",
            f"--config.file={place}/blackbox.yml",
            f"--web.listen-address=127.0.0.1:{exporter}",
        ],
        [
            "prometheus-alertmanager",
            f"--config.file={place}/alertmanager.yml",
            f"--storage.path={data}/alertmanager",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
        ],
    )
    with meter("prometheus") as measured, (place / "out").open("wb") as sink:
        measured.join()
        started = [subprocess.Popen(command, stdout=sink, stderr=sink) for command in commands]
        Meter(measured.group.parent).join()
        try:
            time.sleep(5)
            assert all(process.poll() is None for process in started), (place / "out").read_text()
            yield Side("Prometheus", measured, data)
        finally:
            for process in started:
                process.terminate()
                process.wait(30)


@contextlib.contextmanager
def ours(place: Path, sidecar: Sidecar) -> Iterator[tuple[Side, list[float]]]:
    """``tsobs up`` when its first filling is over, and a list that gets each tick's seconds to its end."""
    settings = {
        "TSOBS_SIDECAR_URL": sidecar.url,
        "TSOBS_CRITICAL_NODES": ",".join(sidecar.names),
        "TSOBS_START_DATE": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    lags: list[float] = []
    with meter("tsobs") as measured:
        measured.join()
        with running(place, **settings) as tsobs:
            Meter(measured.group.parent).join()
            eventually(lambda: settled(tsobs, 75), 900, "the first filling is over")
            begun = time.time()
            yield Side("tsobs", measured, tsobs.state), lags
            found = tsobs.graphql(RUNS, limit=500)["runsOrError"]
            assert isinstance(found, dict)
            lags.extend(
                run["endTime"] - run["startTime"] // TICK_S * TICK_S
                for run in found["results"]
                if run["jobName"] == "collect_connections" and run["endTime"] and run["startTime"] > begun
            )


def measure(sides: Sequence[Side], seconds: float) -> list[tuple[str, ...]]:
    """A line of the table for each side."""
    days = seconds / 86_400
    before = [(side.meter.seconds(), side.disk()) for side in sides]
    time.sleep(seconds)
    rows: list[tuple[str, ...]] = []
    for side, (cpu_before, disk_before) in zip(sides, before, strict=True):
        cpu, disk = side.meter.seconds() - cpu_before, side.disk() - disk_before
        rows.append(
            (
                side.name,
                f"{cpu * 60 / seconds:.3f}",
                f"{cpu / days:.0f}",
                f"{side.memory_mb():.0f}",
                f"{disk / days / 1e6:.1f}",
            )
        )
    return rows


def main() -> None:
    """Measure both sides at once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=30)
    chosen = parser.parse_args()
    print(f"{machine()}, {chosen.nodes} nodes, {chosen.minutes:g} minutes")
    sidecar = Sidecar(chosen.nodes)
    with tempfile.TemporaryDirectory() as directory, served(sidecar):
        places = [Path(directory) / name for name in ("tsobs", "prometheus")]
        for place in places:
            place.mkdir()
        with prometheus(places[1], chosen.nodes) as theirs, ours(places[0], sidecar) as (mine, lags):
            sent = sidecar.sent
            rows = measure((mine, theirs), chosen.minutes * 60)
            sent = sidecar.sent - sent
    print(table(("", "CPU-s/min", "CPU-s/day", "PSS, MB", "disk, MB/day"), rows))
    print(f"from the sidecar: {sent * DAY_MINUTES / chosen.minutes / 1e6:.1f} MB a day")
    print(f"ticks: {len(lags)}, finished {max(lags, default=0):.1f} s after their time at the latest")


if __name__ == "__main__":
    main()
