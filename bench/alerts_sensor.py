"""Cost of a sensor evaluation: with nothing new, with one tick's news, and with 1,000 new materialisations.

Prints CPU and wall in ms, median of seven. Run: ``python bench/alerts_sensor.py``.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from tsobs_pipelines.defs.alerts import assets as alerts
from tsobs_pipelines.defs.alerts import sensors as alert_sensors
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow

TRIALS = 7
RESOURCES = {"settings": SettingsResource(), "store": StoreResource()}
NODES = ("git", "chocolate-factory-dev", "chocolate-factory")


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall of one call, in ms."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000


def tick(instance: dg.DagsterInstance, sensor: dg.SensorDefinition, cursor: str | None) -> str | None:
    """One evaluation; the cursor after it."""
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=RESOURCES) as context:
        result = sensor(context)
    return result.cursor if isinstance(result, dg.SensorResult) else cursor


def report(instance: dg.DagsterInstance, last: datetime, day: datetime, mode: str) -> None:
    """A materialisation as the collection makes it."""
    metadata = {f"latency_ms/{node}": 20.0 for node in NODES} | {f"path/{node}": "direct" for node in NODES}
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            "connection_metrics",
            partition=day.date().isoformat(),
            metadata={"mode": mode, "first_round": "none", "last_round": last.isoformat(), **metadata},
        )
    )


def rows(start: datetime, count: int) -> list[ConnectionRow]:
    """Rounds of three healthy nodes."""
    return [
        ConnectionRow(
            time=start + timedelta(minutes=minute),
            tailnet="demo",
            hostname=node,
            connection_type="direct",
            relay_node="none",
            latency_avg=20.0 + minute % 7,
        )
        for minute in range(count)
        for node in NODES
    ]


def main() -> None:
    """Measure and print one JSON object."""
    folder = Path(tempfile.mkdtemp(prefix="tsobs-bench-"))
    (folder / "dagster").mkdir()
    os.chdir(folder)
    os.environ["TSOBS_STATE_DIR"] = str(folder / "var")
    logging.disable(logging.INFO)
    sensor = next(
        found
        for found in alert_sensors.alert_sensors(alerts.alert_jobs())
        if found.name == "latency_alert_sensor"
    )
    store = StoreResource().get()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    figures: dict[str, dict[str, float]] = {}
    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        begin = now - timedelta(minutes=40)
        store.write(CONNECTIONS, rows(begin, 40))
        report(instance, begin, now, "incremental")
        cursor = tick(instance, sensor, None)
        idle = [measured(lambda: tick(instance, sensor, cursor)) for _ in range(TRIALS)]
        busy = []
        for number in range(TRIALS):
            report(instance, begin + timedelta(minutes=5 * (number + 1)), now, "incremental")
            started = cursor

            def work(started: str | None = started) -> None:
                nonlocal cursor
                cursor = tick(instance, sensor, started)

            busy.append(measured(work))
        for number in range(1000):
            report(instance, now - timedelta(minutes=1), now - timedelta(days=number % 30), "full")
        many = [measured(lambda: tick(instance, sensor, cursor)) for _ in range(TRIALS)]
    for name, trials in (("nothing new", idle), ("one tick", busy), ("1,000 materialisations", many)):
        figures[name] = {
            "cpu_ms": round(statistics.median(cpu for cpu, _ in trials), 1),
            "wall_ms": round(statistics.median(wall for _, wall in trials), 1),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
