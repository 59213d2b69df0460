"""The rolling-origin study of the model: its parts, variants and LEAR side by side, then the model by month.

Each delivery day after the 60th is forecast by a fit on prices before it, as at 09:00 UTC of the day before.
Variants are chosen on 2015 and judged on 2016: the tables of both are printed, in Markdown. A part of the
variants: ``python -m bench.forecast_study chosen "default Prophet" LEAR``.
"""

from __future__ import annotations

import sys
from datetime import date

import numpy as np
import pandas as pd
from prophet import Prophet

from bench.harness import machine, table
from bench.lear import lear
from bench.prices import (
    CHOSEN_ON,
    JUDGED_ON,
    Matrix,
    PriceMap,
    actual,
    code,
    kept,
    real_prices,
    rolling,
    scored_days,
)
from tests.support.prices import MARKET
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.models.features import LAG_DAYS, lay_out
from tsobs_pipelines.forecasting.models.frames import without_empty_start
from tsobs_pipelines.forecasting.models.hourly_ridge import fit_hourly_ridge
from tsobs_pipelines.forecasting.models.prophet_model import Parameters
from tsobs_pipelines.forecasting.models.stan import quiet, stan_folder

VARIANTS = {
    "chosen": Parameters(),
    "chosen, Prophet on 56 and 182 days": Parameters(windows=(56, 182)),
    "chosen, the regressions on 182 days": Parameters(ridge_window=182),
    "chosen, the same weight for both": Parameters(ridge_weight=0.5),
    "chosen, Prophet's last hour without its waves": Parameters(last_order=0),
    "chosen, priors three times as wide": Parameters(regressor_prior=0.1, seasonality_prior=0.1),
}
LEAR_EVERY = 8
"""A day of LEAR takes some seconds: it is tried on every 8th day, and so is the model beside it."""

DEFAULT_WINDOW = 60


def default_prophet(prices: PriceMap, days: list[date]) -> Matrix:
    """Prophet as it comes, on the 60 days before each."""

    def one(day: date) -> list[list[float]]:
        laid = lay_out(prices, day, DEFAULT_WINDOW, MARKET).bridged
        times = pd.date_range(day - DAY * DEFAULT_WINDOW, periods=laid.size + 24, freq="h")
        with quiet(), stan_folder() as folder:
            model = Prophet()
            model.fit(pd.DataFrame({"ds": times[:-24], "y": laid.ravel()}), seed=1, output_dir=str(folder))
        np.random.seed(1)  # the generator that Prophet draws from
        made = model.predict(pd.DataFrame({"ds": times[-24:]}))
        found: list[list[float]] = made[["yhat", "yhat_lower", "yhat_upper"]].to_numpy().tolist()
        return found

    return kept(b"default Prophet 1", one, days)


def regressions(prices: PriceMap, days: list[date]) -> Matrix:
    """The ridge regressions alone."""
    chosen = Parameters()

    def one(day: date) -> list[list[float]]:
        laid = without_empty_start(lay_out(prices, day, chosen.ridge_window + LAG_DAYS, MARKET))
        ridge, _ = fit_hourly_ridge(laid, MARKET)
        return [[value] for value in ridge.predict(laid.bridged, day, MARKET)[0].tolist()]

    return kept(b"regressions" + code(), one, days)[..., 0]


def lear_alone(prices: PriceMap, days: list[date]) -> Matrix:
    """LEAR."""
    made = kept(b"LEAR 1", lambda day: [[value] for value in lear(prices, day).tolist()], days)
    return made[..., 0]


def naive(prices: PriceMap, days: list[date], back: int) -> Matrix:
    """The same hour ``back`` days before."""
    return actual(prices, [day - DAY * back for day in days])


def line(name: str, made: Matrix, truth: Matrix, reference: Matrix) -> list[str]:
    """MAE, its ratio to the naive forecast's (whole span and thirds of it), coverage."""
    point = made[..., 0] if made.ndim == 3 else made
    errors, others = np.abs(point - truth), np.abs(reference - truth)
    there = ~np.isnan(errors) & ~np.isnan(others)
    errors, others = np.where(there, errors, 0.0), np.where(there, others, 0.0)
    thirds = [f"{errors[part].sum() / others[part].sum():.2f}" for part in thirds_of(len(truth))]
    cells = [
        name,
        f"{errors.sum() / there.sum():.2f}",
        f"{errors.sum() / others.sum():.3f}",
        ", ".join(thirds),
    ]
    return [*cells, coverage(made, truth) if made.ndim == 3 else ""]


def thirds_of(count: int) -> list[Matrix]:
    """Indices of three spans of equal length, in order."""
    return list(np.array_split(np.arange(count), 3))


def coverage(made: Matrix, truth: Matrix) -> str:
    """Share of actual prices inside the interval, as per cent."""
    there = ~np.isnan(truth) & ~np.isnan(made[..., 0])
    inside = (made[..., 1] <= truth) & (truth <= made[..., 2])
    return f"{100 * inside[there].mean():.1f} %"


def main(wanted: list[str]) -> None:
    """Print the tables of both years."""
    prices = real_prices()
    print(machine())
    for year in (CHOSEN_ON, JUDGED_ON):
        study(prices, scored_days(prices, year), wanted)


def study(prices: PriceMap, days: list[date], wanted: list[str]) -> None:
    """Print the tables of these days."""
    truth, yesterday = actual(prices, days), naive(prices, days, 1)
    print(f"\n{len(days)} days, {days[0]} to {days[-1]}\n", flush=True)
    rows = [
        line("naive: the same hour yesterday", yesterday, truth, yesterday),
        line("naive: the same hour a week ago", naive(prices, days, 7), truth, yesterday),
    ]
    if not wanted or "default Prophet" in wanted:
        rows.append(line("default Prophet, 60 days", default_prophet(prices, days), truth, yesterday))
    chosen = rolling(VARIANTS["chosen"], prices, days)
    alone = regressions(prices, days)
    rows.append(line("the regressions alone", alone, truth, yesterday))
    weight = VARIANTS["chosen"].ridge_weight
    prophet = (chosen[..., 0] - weight * alone) / (1 - weight)
    rows.append(line("Prophet alone", prophet, truth, yesterday))
    for name, parameters in VARIANTS.items():
        if not wanted or name in wanted:
            rows.append(line(name, rolling(parameters, prices, days), truth, yesterday))
    if not wanted or "LEAR" in wanted:
        rows += beside_lear(prices, days, chosen, truth, yesterday)
    header = ["forecast", "MAE €/MWh", "by naive yesterday", "in each third", "coverage of 80 %"]
    print(table(header, rows), flush=True)
    months = []
    for month in sorted({(day.year, day.month) for day in days}):
        inside = np.array([(day.year, day.month) == month for day in days])
        cells = line(f"{month[0]}-{month[1]:02}", chosen[inside], truth[inside], yesterday[inside])
        months.append([*cells[:3], cells[4]])
    print("\n" + table(["chosen, by month", *header[1:3], header[4]], months))


def beside_lear(
    prices: PriceMap, days: list[date], chosen: Matrix, truth: Matrix, yesterday: Matrix
) -> list[list[str]]:
    """Lines of every 8th day: LEAR, the model, and the mean of both."""
    some = slice(None, None, LEAR_EVERY)
    theirs, ours = lear_alone(prices, days[some]), chosen[some][..., 0]
    made = {"LEAR": theirs, "chosen": ours, "mean of LEAR and chosen": (theirs + ours) / 2}
    return [
        line(f"{name}, every {LEAR_EVERY}th day", each, truth[some], yesterday[some])
        for name, each in made.items()
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
