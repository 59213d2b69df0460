"""A backfill of 180 days against Prophet's own cross-validation with the same cut-offs, in one run.

Ours fits, writes, reads and predicts each day as the assets do, beside
``cross_validation`` of Prophet as it comes,
without parallelism. Prints a Markdown table.
"""

from __future__ import annotations

import logging
import sys
import time

import numpy as np
import pandas as pd
from prophet import Prophet
from prophet.diagnostics import cross_validation

from bench.harness import machine, peak_mb, table
from bench.prices import real_prices, scored_days
from tests.support.prices import MARKET
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.models.features import lay_out
from tsobs_pipelines.forecasting.models.interface import FittedModel
from tsobs_pipelines.forecasting.models.prophet_model import ProphetPriceForecast
from tsobs_pipelines.forecasting.models.stan import stan_folder

DAYS = 180


def main(count: int = DAYS) -> None:
    """Print the table."""
    stan = logging.getLogger("cmdstanpy")
    stan.addHandler(logging.NullHandler())
    stan.disabled = True
    start = machine()
    prices = real_prices()
    days = scored_days(prices)[-count:]
    model = ProphetPriceForecast()
    begun = time.perf_counter()
    for day in days:
        text = model.fit(prices, day, MARKET).to_json()
        model.predict(FittedModel.from_json(text), prices, MARKET)
    ours, memory = time.perf_counter() - begun, peak_mb()

    first = MARKET.day_of(min(prices))
    laid = lay_out(prices, days[-1] + DAY, (days[-1] - first).days + 1, MARKET).bridged
    frame = pd.DataFrame({"ds": pd.date_range(first, periods=laid.size, freq="h"), "y": laid.ravel()})
    cuts = [pd.Timestamp(day) - pd.Timedelta(hours=1) for day in days]
    with stan_folder():
        whole = Prophet().fit(frame)
        begun = time.perf_counter()
        scored = cross_validation(whole, horizon="24 hours", cutoffs=cuts, disable_tqdm=True)
    theirs = time.perf_counter() - begun
    assert scored["cutoff"].nunique() == count
    assert np.isfinite(scored["yhat"]).all()
    print(f"{start}\n")
    rows = [
        ["backfill, fit and predict", f"{ours:.0f}", f"{ours / theirs:.2f}", f"{memory:.0f}"],
        ["cross_validation of default Prophet", f"{theirs:.0f}", "1.00", f"{peak_mb():.0f}"],
    ]
    print(table([f"{count} days", "s", "by cross_validation", "peak MB"], rows))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
