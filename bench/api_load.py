"""Latency histories under 50 requests a second from wrk: 24 hours and 30 days, SQLite and InfluxDB.

wrk has no rate: ten connections of one thread that wait 200 ms before each request make 50 a second (the wait
is a script's ``delay``, which wrk does not count). The requests go round the three nodes, as pages do. Beside
it what one answer costs that nobody has asked for yet.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench.harness import machine, table
from tests.support.api_world import NODES, rounds
from tests.support.lab.influx import running_influx
from tests.support.lab.runs import new_run
from tests.support.running import eventually, up_environment
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.timeseries.open import open_store
from tsobs_pipelines.timeseries.schema import CONNECTIONS

MONTH = 30 * 1440
CHUNK = 10_000
SECONDS = 15
CONNECTIONS_AT_ONCE = 10
SETTLE_S = 30
"""What a store still does with a month that was written at once is not what is measured."""
SPANS = {24: 40, 720: 250}
"""Hours, and the target of their p99 in ms."""

SCRIPT = """
local hosts, turn = {"git", "chocolate-factory-dev", "chocolate-factory"}, 0
function delay() return 200 end
function request()
  turn = turn + 1
  return wrk.format("GET", "/health-monitoring/latency-history/" .. hosts[turn % 3 + 1] .. "?hours=HOURS")
end
"""


def seed(environment: Mapping[str, str]) -> None:
    """A month of rounds of three nodes, up to now."""
    os.environ.update(environment)
    store = open_store(load_settings())
    for node in NODES:
        rows = rounds(MONTH, hostname=node, end=datetime.now(UTC))
        for start in range(0, MONTH, CHUNK):
            store.write(CONNECTIONS, rows[start : start + CHUNK])
    store.close()


@contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[str]:
    """The API as ``make up`` starts it."""
    url = f"http://127.0.0.1:{environment['TSOBS_API_PORT']}"
    command = [sys.executable, "-m", "tsobs_pipelines.api"]
    process = subprocess.Popen(command, env=dict(environment), stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(url), 60, "the API answers")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/about").status_code == 200
    except httpx.TransportError:
        return False


def first_answers(url: str, hours: int) -> float:
    """Milliseconds of the slowest node's first answer, which is computed for this request."""
    times = []
    for node in NODES:
        begun = time.perf_counter()
        answer = httpx.get(f"{url}/health-monitoring/latency-history/{node}", params={"hours": hours})
        times.append((time.perf_counter() - begun) * 1000)
        assert 1 < len(answer.json()["history"]) <= 2000
    return max(times)


def load(url: str, hours: int, directory: Path) -> tuple[float, float, float]:
    """Requests a second, p50 and p99 in ms."""
    script = directory / "paced.lua"
    script.write_text(SCRIPT.replace("HOURS", str(hours)))
    command = ["wrk", "-t1", f"-c{CONNECTIONS_AT_ONCE}", f"-d{SECONDS}s", "--latency", "-s", str(script), url]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "Non-2xx" not in text, text
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None
    return float(rate[1]), _percentile(text, "50"), _percentile(text, "99")


def _percentile(text: str, which: str) -> float:
    found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def main() -> None:
    """Print the table."""
    print(f"{machine()}\n")
    rows = []
    with new_run() as run, running_influx(run) as influx, tempfile.TemporaryDirectory() as name:
        for store, settings in (("SQLite", {}), ("InfluxDB 2", influx.environment)):
            environment = up_environment(Path(name) / store.split(" ")[0], **settings)
            Path(environment["TSOBS_STATE_DIR"]).mkdir()
            seed(environment)
            time.sleep(SETTLE_S)
            with serving(environment) as url:
                for hours, target in SPANS.items():
                    first = first_answers(url, hours)
                    rate, median, p99 = load(url, hours, Path(name))
                    figures = (f"{rate:.0f}", f"{median:.1f}", f"{p99:.1f}", target, f"{first:.0f}")
                    rows.append((store, f"{hours} h", *figures))
    header = ["store", "span", "requests/s", "p50 ms", "p99 ms", "target p99", "first answer ms"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
