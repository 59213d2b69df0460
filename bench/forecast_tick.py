"""CPU of the 5-minute evaluation without a new price, above a Dagster run of one empty asset."""

from __future__ import annotations

import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from bench.harness import machine, table
from tests.support.forecasts import Forecasts
from tests.support.prices import MARKET
from tests.support.week_mean import WeekMean
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.timeseries.sql import SqlStore

PAIRS = 15
DAYS = 30
TARGET_S = 0.3
HEAVY = ("prophet", "pandas", "matplotlib", "cmdstanpy")


class Cheap(WeekMean):
    """Forecasts under the default model's name: a tick reads them, and need not know who made them."""

    name = DEFAULT_MODEL


@dg.asset
def empty() -> None:
    """Nothing: what remains is Dagster's own."""


def fill(home: str) -> None:
    """A month of prices, forecasts and evaluations. In a process of its own, for it draws pictures."""
    logging.disable(logging.CRITICAL)
    settings = load_settings()
    today = MARKET.day_of(datetime.now(UTC))
    with dg.DagsterInstance.local_temp(home) as instance:
        filled = Forecasts(settings, SqlStore(settings.database_url), instance, "demo", Cheap())
        filled.fill(today - DAYS * DAY, today)


def cpu_of(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(home: str) -> tuple[list[float], list[float]]:
    """CPU of the evaluation and of the empty run, by turns, after one pair that does not count."""
    from tsobs_pipelines.definitions import build_defs  # noqa: PLC0415 - reads the settings

    tick = build_defs().resolve_job_def("evaluate_forecast")
    nothing = dg.define_asset_job("nothing", selection=["empty"], executor_def=dg.in_process_executor)
    bare = dg.Definitions(assets=[empty], jobs=[nothing]).resolve_job_def("nothing")
    # Yesterday is over: no full hour that ends while this runs is new to it.
    day = str(MARKET.day_of(datetime.now(UTC)) - DAY)
    evaluations, empties = [], []
    with dg.DagsterInstance.local_temp(home) as instance:

        def evaluate() -> None:
            result = tick.execute_in_process(instance=instance, partition_key=day)
            (event,) = result.asset_materializations_for_node("forecast_evaluation")
            state = str(event.metadata["state"].value)
            assert state.startswith("unchanged since "), state

        for _ in range(PAIRS + 1):
            evaluations.append(cpu_of(evaluate))
            empties.append(cpu_of(lambda: bare.execute_in_process(instance=instance)))
    loaded = [name for name in HEAVY if name in sys.modules]
    assert not loaded, f"the run loads {loaded}"
    return evaluations[1:], empties[1:]


def main() -> None:
    """Print both, and the difference of the pairs."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "dagster"
        home.mkdir()
        today = MARKET.day_of(datetime.now(UTC))
        os.environ |= {
            "TSOBS_STATE_DIR": str(Path(directory) / "var"),
            "TSOBS_MODELS_DIR": str(Path(directory) / "models"),
            "TSOBS_PRICE_SOURCE": "demo",
            "TSOBS_START_DATE": str(today - DAYS * DAY),
        }
        os.environ.pop("TSOBS_DATABASE_URL", None)
        child = multiprocessing.get_context("spawn").Process(target=fill, args=(str(home),))
        child.start()
        child.join()
        assert child.exitcode == 0
        evaluations, empties = measure(str(home))
    above = [one - other for one, other in zip(evaluations, empties, strict=True)]
    rows = [
        (name, f"{statistics.median(found):.3f}", f"{min(found):.3f}", f"{max(found):.3f}")
        for name, found in (("evaluation", evaluations), ("empty run", empties), ("above it", above))
    ]
    print(table([f"{PAIRS} pairs, CPU seconds", "median", "least", "most"], rows))
    print(f"\ntarget: ≤ {TARGET_S} above the empty run; none of {', '.join(HEAVY)} was loaded")
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
