"""The data frames that Prophet is fitted on and forecasts from, on the scale of a training window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsobs_pipelines.forecasting.delivery import DAY, Market
from tsobs_pipelines.forecasting.models.features import (
    DAY_KINDS,
    LAG_DAYS,
    SLOTS,
    Matrix,
    PriceDays,
    kinds_of,
    lagged,
)
from tsobs_pipelines.forecasting.models.scale import Scale

if TYPE_CHECKING:
    import pandas as pd

LAGGED = ("lag1", "lag2", "lag7", "mean1", "last1", "min1", "max1", "week", "week_mean", "level")


def last_waves(order: int) -> dict[str, Matrix]:
    """Names of the regressors ``last1`` times a wave over the day, and the waves, one value a slot."""
    angle = 2 * np.pi * np.arange(SLOTS) / SLOTS
    waves = {f"last1_sin{step}": np.sin(step * angle) for step in range(1, order + 1)}
    return waves | {f"last1_cos{step}": np.cos(step * angle) for step in range(1, order + 1)}


def frame_of(days: PriceDays, market: Market) -> pd.DataFrame:
    """A row for each hour from the eighth day to the day after the last: time, price, lags, kinds of day."""
    import pandas as pd  # noqa: PLC0415 - needed for fits and forecasts only

    count = len(days.bridged) - LAG_DAYS + 1
    dates = [days.first + DAY * (LAG_DAYS + row) for row in range(count)]
    starts = np.array(dates, dtype="datetime64[ns]")
    hours = starts[:, None] + np.arange(SLOTS).astype("timedelta64[h]")[None, :]
    price = np.vstack([days.observed[LAG_DAYS:], np.full((1, SLOTS), np.nan)])
    columns: dict[str, object] = {"ds": hours.ravel(), "price": price.ravel()}
    columns |= {name: values.ravel() for name, values in lagged(days.bridged).items()}
    kinds = [kinds_of(each, market) for each in dates]
    columns |= {kind: np.repeat([each[kind] for each in kinds], SLOTS) for kind in DAY_KINDS}
    return pd.DataFrame(columns)


def scaled_frame(frame: pd.DataFrame, scale: Scale, last_order: int) -> pd.DataFrame:
    """The frame's prices on the scale, with a 0 or 1 for each kind of day, as Prophet takes them."""
    scaled = frame.drop(columns="price")
    scaled["y"] = scale.to(frame["price"].to_numpy())
    for name in LAGGED:
        scaled[name] = scale.to(frame[name].to_numpy())
    for name, wave in last_waves(last_order).items():
        scaled[name] = scaled["last1"] * wave[frame["ds"].dt.hour]
    for kind in DAY_KINDS:
        scaled[f"is_{kind}"] = frame[kind].astype(float)
    return scaled


def without_empty_start(days: PriceDays) -> PriceDays:
    """The days from the first with a price on; so many at least that one has all its lags."""
    filled = np.flatnonzero(~np.isnan(days.observed).all(axis=1))
    start = min(int(filled[0]), len(days.observed) - LAG_DAYS - 1) if len(filled) else 0
    return PriceDays(days.first + DAY * start, days.observed[start:], days.bridged[start:])
