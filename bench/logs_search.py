"""Searching 1 GiB of logs: 10 days, 2 million lines, 1 % errors; compared with jq and grep on the same files.

The files are measured plain and, for the search, also as they are kept: the days that are over in gzip. jq
and grep read the plain ones. Every search runs in a process of its own; its peak memory is the kernel's word.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.harness import machine, table
from tsobs_pipelines.logs.encoding import LineEncoder
from tsobs_pipelines.logs.maintenance import maintain
from tsobs_pipelines.logs.matching import LogQuery
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.logs.search import search

DAYS = 10
LINES = 2_000_000
TRIALS = 7
NOW = datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)
LOGGERS = ("tsobs_pipelines.api.access", "dagster.daemon.SensorDaemon", "tailscaled", "tsobs_pipelines.defs")
NOTHING = "no-line-has-this"


def write(directory: Path) -> None:
    """The files: lines of about 537 bytes, in the order of time, one day each."""
    dice = random.Random(0)  # noqa: S311 - the same files each time
    encoder = LineEncoder(Redactor())
    a_day = LINES // DAYS
    for back in range(DAYS):
        midnight = NOW.replace(hour=0, minute=0, second=0) - timedelta(days=back)
        with (directory / f"tsobs-{midnight:%Y-%m-%d}.jsonl").open("w") as file:
            for number in range(a_day):
                level = "ERROR" if number % 100 == 50 else "INFO"
                at = midnight.timestamp() + number * 86_400 / a_day
                extras: dict[str, object] = {
                    "run_id": f"{dice.getrandbits(128):032x}",
                    "path": f"/health-monitoring/latency-history/{number % 977}",
                    "note": f"{dice.getrandbits(800):0200x}",
                }
                text = f"request {number} answered in {number % 311} ms"
                place = ("middleware", "_record", 161)
                file.write(encoder.line(at, level, LOGGERS[number % 4], text, place, extras) + "\n")


def one(directory: str, level: str, hours: str, text: str) -> None:
    """Search once, in this process, and print seconds, megabytes and entries."""
    query = LogQuery(level, float(hours), 100, text or None)
    search(Path(directory), LogQuery("CRITICAL", 0.001, 1), NOW)  # imports and first calls
    begun = time.perf_counter()
    found = search(Path(directory), query, NOW)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak, len(found.entries)]))


def searched(directory: Path, level: str, hours: float, text: str = "") -> tuple[float, float, int]:
    """Median seconds, highest megabytes, entries."""
    command = [sys.executable, "-m", "bench.logs_search", str(directory), level, str(hours), text]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(TRIALS)
    ]
    return statistics.median(run[0] for run in runs), max(run[1] for run in runs), int(runs[0][2])


def clock(command: list[str], trials: int) -> float:
    """Median seconds of a command, its output thrown away."""
    times = []
    for _ in range(trials):
        begun = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        plain, kept = Path(name) / "plain", Path(name) / "kept"
        plain.mkdir()
        write(plain)
        files = [str(path) for path in sorted(plain.glob("*.jsonl"))]
        size = sum(Path(file).stat().st_size for file in files) / (1 << 30)
        print(f"{size:.2f} GiB in {len(files)} files, {LINES} lines; limit=100\n")
        since = (NOW - timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%S")
        ours = searched(plain, "ERROR", 24)
        wanted = f'select((.level=="ERROR" or .level=="CRITICAL") and .timestamp>="{since}")'
        jq = clock(["jq", "-c", wanted, *files], 1)
        worst = searched(plain, "DEBUG", 24 * 30, NOTHING)
        grep = clock(["grep", "-c", NOTHING, *files], TRIALS)
        critical = searched(plain, "CRITICAL", 24 * 30)
        shutil.copytree(plain, kept)
        maintain(kept, NOW + timedelta(hours=1), 30)
        zipped, zipped_worst = searched(kept, "ERROR", 24), searched(kept, "DEBUG", 24 * 30, NOTHING)
    rows = [
        ("level=ERROR, 24 h", f"{ours[0] * 1000:.1f}", f"{ours[1]:.0f}", ours[2]),
        ("the same with jq", f"{jq * 1000:.0f}", "", ""),
        ("the same, older days in gzip", f"{zipped[0] * 1000:.1f}", f"{zipped[1]:.0f}", zipped[2]),
        ("nothing matches, text, 30 d", f"{worst[0] * 1000:.0f}", f"{worst[1]:.0f}", worst[2]),
        ("nothing matches, level=CRITICAL, 30 d", f"{critical[0] * 1000:.0f}", f"{critical[1]:.0f}", 0),
        ("grep -c", f"{grep * 1000:.0f}", "", ""),
        ("nothing matches, older days in gzip", f"{zipped_worst[0] * 1000:.0f}", f"{zipped_worst[1]:.0f}", 0),
    ]
    print(table(["search", "median ms", "peak MB", "entries"], rows))
    print(
        f"\njq / search: {jq / ours[0]:.0f}; worst / grep: {worst[0] / grep:.2f} (text), "
        f"{critical[0] / grep:.2f} (level)"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(*sys.argv[1:5])
    else:
        main()
