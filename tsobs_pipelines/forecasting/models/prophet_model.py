"""``prophet_price_forecast``: the weighted mean of Prophet and of a ridge regression for each hour.

Chosen by ``bench/forecast_study.py``. Prophet is fitted on prices made symmetric by ``asinh`` (Uniejewski,
Weron and Ziel, *Variance stabilizing transformations for electricity spot price forecasting*, IEEE
Transactions on Power Systems 33, 2018). Two models of different kinds, on windows of different length, err
less together than most single ones (Marcjasz, Serafin and Weron, *Selection of calibration windows for
day-ahead electricity price forecasting*, Energies 11, 2018). The interval is that of the regression's errors
on days left out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cached_property
from hashlib import sha256
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.forecasting.models.features import (
    DAY_KINDS,
    LAG_DAYS,
    SLOTS,
    Matrix,
    PriceDays,
    lay_out,
)
from tsobs_pipelines.forecasting.models.frames import (
    LAGGED,
    frame_of,
    last_waves,
    scaled_frame,
    without_empty_start,
)
from tsobs_pipelines.forecasting.models.hourly_ridge import HourlyRidge, fit_hourly_ridge
from tsobs_pipelines.forecasting.models.interface import (
    FittedModel,
    HourForecast,
    NotEnoughPricesError,
    Prices,
)
from tsobs_pipelines.forecasting.models.interval import interval
from tsobs_pipelines.forecasting.models.scale import Scale
from tsobs_pipelines.forecasting.models.stan import quiet, stan_folder

if TYPE_CHECKING:
    import pandas as pd

PRICE_FLOOR, PRICE_CAP = -0.5, 4.0
"""EUR/kWh: the limits of the European day-ahead auction; a market that has gone beyond may do so again."""

# Prophet says at its import, as an error, that there is no plotly: nothing here needs it.
logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)

REVISION = "5"
MINIMUM_TRAINING_DAYS = 14
LIBRARIES = ("prophet", "holidays")
"""What changes forecasts with its own version."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything about the model that a study may vary; lengths in days, priors on Prophet's scaled axis."""

    windows: tuple[int, ...] = (182,)
    """Of Prophet; with several, the mean of a fit on each is its forecast."""
    ridge_window: int = 364
    ridge_weight: float = 0.6
    daily_order: int = 6
    kind_order: int = 3
    last_order: int = 2
    """Of the shape over the day of what the day before's last hour says: most in the night, little later."""
    regressor_prior: float = 0.03
    seasonality_prior: float = 0.03


class ProphetPriceForecast:
    """The model; fits and forecasts are pure functions of the prices."""

    def __init__(self, name: str = DEFAULT_MODEL, parameters: Parameters | None = None) -> None:
        """``parameters`` are by default those that the study chose."""
        self._name = name
        self.parameters = parameters or Parameters()

    @property
    def name(self) -> str:
        """The name in the metrics history."""
        return self._name

    @cached_property
    def version(self) -> str:
        """The revision of the code and a digest of the parameters and of the libraries that it fits with."""
        return self._version_with({})

    def version_in(self, market: Market) -> str:
        """The version of what is fitted for a market: its zone and its holidays change forecasts as well."""
        return self._version_with({"timezone": market.timezone, "country": market.home})

    def _version_with(self, more: Mapping[str, str | None]) -> str:
        libraries = {name: metadata.version(name) for name in LIBRARIES}
        made_of = {**asdict(self.parameters), **libraries, **more}
        digest = sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        return f"{REVISION}.{digest[:6]}"

    @property
    def training_days(self) -> int:
        """The longest window and the lags before it."""
        return max(*self.parameters.windows, self.parameters.ridge_window) + LAG_DAYS

    def fit(self, prices: Prices, day: date, market: Market) -> FittedModel:
        """Fit for ``day`` on at most :attr:`training_days` days before it.

        Raises:
            NotEnoughPricesError: fewer than 14 of these days can be fitted on.
        """
        import prophet  # noqa: PLC0415 - 3 s and 113 MB, needed for fits only

        days = without_empty_start(lay_out(prices, day, self.training_days, market))
        frame = frame_of(days, market)[: -SLOTS or None]
        usable = frame.dropna()
        if len(usable) < MINIMUM_TRAINING_DAYS * SLOTS:
            raise NotEnoughPricesError(
                f"{len(usable)} hours before {day} can be fitted on (with the week of prices before each), "
                f"expected at least {MINIMUM_TRAINING_DAYS * SLOTS}"
            )
        longest = len(days.observed) - LAG_DAYS
        windows = sorted({min(window, longest) for window in self.parameters.windows})
        parts = [self._fit_window(usable, day, window) for window in windows]
        ridge, errors = fit_hourly_ridge(_last(days, self.parameters.ridge_window + LAG_DAYS), market)
        low, high = interval(errors)
        return FittedModel(
            model_name=self.name,
            version=self.version_in(market),
            day=day,
            trained_from=_moment(usable["ds"].iloc[0], market),
            trained_to=min(_moment(usable["ds"].iloc[-1], market) + HOUR, market.start_of(day)),
            rows=len(usable),
            details={
                "prophet": prophet.__version__,
                "windows": ",".join(str(window) for window in windows),
                "parameters": json.dumps(asdict(self.parameters), sort_keys=True),
                "timezone": market.timezone,
            },
            parameters=json.dumps(
                {"prophet": parts, "ridge": _ridge_to_dict(ridge), "low": low.tolist(), "high": high.tolist()}
            ),
        )

    def predict(self, fitted: FittedModel, prices: Prices, market: Market) -> list[HourForecast]:
        """Every hour of the fitted day; the hour an autumn day repeats has the same forecast twice.

        Raises:
            NotEnoughPricesError: a lagged price is absent and no price of the week before can stand for it.
            ValueError: another version of the model was fitted, or for another market.
        """
        expected = self.version_in(market)
        if fitted.version != expected:
            raise ValueError(
                f"the model fitted for {fitted.day} is of version {fitted.version}, "
                f"expected {expected}: fit it again"
            )
        days = lay_out(prices, fitted.day, 2 * LAG_DAYS, market)
        frame = frame_of(days, market)[-SLOTS:]
        if frame.drop(columns="price").isna().to_numpy().any():
            raise NotEnoughPricesError(f"no price within a week for some of the hours before {fitted.day}")
        parameters = json.loads(fitted.parameters)
        prophets = [self._predict_window(part, frame) for part in parameters["prophet"]]
        regressed, unit = _ridge_from_dict(parameters["ridge"]).predict(days.bridged, fitted.day, market)
        weight = self.parameters.ridge_weight
        yhat = weight * regressed + (1 - weight) * np.mean(prophets, axis=0)
        lower = yhat + np.minimum(parameters["low"], 0.0) * unit
        upper = yhat + np.maximum(parameters["high"], 0.0) * unit
        # What is learnt from some extreme days may lead beyond what an auction can give.
        least, most = min(PRICE_FLOOR, *prices.values()), max(PRICE_CAP, *prices.values())
        bounded = np.clip([yhat, lower, upper], least, most)
        slots = [(hour, hour.astimezone(market.zone).hour) for hour in market.hours_of(fitted.day)]
        return [HourForecast(hour, *map(float, bounded[:, slot])) for hour, slot in slots]

    def _predict_window(self, part: Mapping[str, Any], frame: pd.DataFrame) -> Matrix:
        """The 24 prices of one Prophet, EUR/kWh."""
        from prophet.serialize import model_from_json  # noqa: PLC0415 - needed for forecasts only

        scale = Scale(**part["scale"])
        with quiet(), stan_folder():
            model = model_from_json(json.dumps(part["prophet"]))
            made = model.predict(scaled_frame(frame, scale, self.parameters.last_order))
        return scale.back(made["yhat"].to_numpy())

    def _fit_window(self, usable: pd.DataFrame, day: date, window: int) -> dict[str, object]:
        """One Prophet on the last ``window`` days: its part of the parameters."""
        from prophet.serialize import model_to_dict  # noqa: PLC0415 - needed for fits only

        rows = usable[usable["ds"] >= np.datetime64(day - DAY * window)]
        scale = Scale.of(rows["price"].to_numpy())
        with quiet(), stan_folder() as folder:
            model = self._prophet()
            model.fit(scaled_frame(rows, scale, self.parameters.last_order), output_dir=str(folder))
        model.params.pop("trend", None)  # one value for each hour fitted on, read by nobody
        model.history = model.history.tail(1)  # the prices are in the store; a model file needs none of them
        model.fit_kwargs = {}  # they name the folder
        model.history_dates = model.history_dates.tail(1)
        return {"scale": asdict(scale), "prophet": model_to_dict(model)}

    def _prophet(self) -> Prophet:  # type: ignore[name-defined] # noqa: F821
        from prophet import Prophet  # noqa: PLC0415 - needed for fits only

        chosen = self.parameters
        model = Prophet(
            growth="flat",
            yearly_seasonality=False,
            weekly_seasonality=False,
            daily_seasonality=False,
            uncertainty_samples=0,
        )
        model.add_seasonality("daily", 1, chosen.daily_order, chosen.seasonality_prior)
        for kind in DAY_KINDS:
            model.add_regressor(f"is_{kind}", chosen.regressor_prior, standardize=True)
            model.add_seasonality(
                f"daily_{kind}", 1, chosen.kind_order, chosen.seasonality_prior, condition_name=kind
            )
        for column in (*LAGGED, *last_waves(chosen.last_order)):
            model.add_regressor(column, chosen.regressor_prior, standardize=True)
        return model


def _last(days: PriceDays, count: int) -> PriceDays:
    skipped = max(0, len(days.observed) - count)
    return PriceDays(days.first + DAY * skipped, days.observed[skipped:], days.bridged[skipped:])


def _ridge_to_dict(ridge: HourlyRidge) -> dict[str, object]:
    return {
        "scale": asdict(ridge.scale),
        "least_spread": ridge.least_spread,
        "intercepts": ridge.intercepts.tolist(),
        "coefficients": ridge.coefficients.tolist(),
    }


def _ridge_from_dict(known: Mapping[str, Any]) -> HourlyRidge:
    return HourlyRidge(
        Scale(**known["scale"]),
        known["least_spread"],
        np.array(known["intercepts"]),
        np.array(known["coefficients"]),
    )


def _moment(local: pd.Timestamp, market: Market) -> datetime:
    from datetime import UTC  # noqa: PLC0415

    return local.to_pydatetime().replace(tzinfo=market.zone).astimezone(UTC)
