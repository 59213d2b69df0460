"""The interface of a forecast model: fitted on the time before a delivery day, it forecasts that day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol, TypeAlias

from tsobs_pipelines.forecasting.delivery import Market

Prices: TypeAlias = Mapping[datetime, float]
"""EUR/kWh by the hour's start in UTC."""

Scalar: TypeAlias = str | int | float | bool | None


class NotEnoughPricesError(ValueError):
    """There are too few prices before the delivery day to fit or to forecast; the text says how many."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model fitted for one delivery day: what it was made of, and its own parameters as JSON.

    The same prices give the same bytes: nothing in it says when it was fitted.
    """

    model_name: str
    version: str
    day: date
    trained_from: datetime
    trained_to: datetime
    """The end of the last hour it was fitted on, UTC; at or before the start of ``day``."""
    rows: int
    details: Mapping[str, Scalar]
    parameters: str

    def to_json(self) -> str:
        """The model as text."""
        document = {
            "model_name": self.model_name,
            "version": self.version,
            "day": self.day.isoformat(),
            "trained_from": self.trained_from.isoformat(),
            "trained_to": self.trained_to.isoformat(),
            "rows": self.rows,
            "details": dict(self.details),
            "parameters": json.loads(self.parameters),
        }
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FittedModel:
        """The model that :meth:`to_json` wrote."""
        document = json.loads(text)
        return cls(
            model_name=document["model_name"],
            version=document["version"],
            day=date.fromisoformat(document["day"]),
            trained_from=datetime.fromisoformat(document["trained_from"]).astimezone(UTC),
            trained_to=datetime.fromisoformat(document["trained_to"]).astimezone(UTC),
            rows=document["rows"],
            details=document["details"],
            parameters=json.dumps(document["parameters"]),
        )


@dataclass(frozen=True, slots=True)
class HourForecast:
    """One delivery hour: its start (UTC), the forecast and the bounds of its 80 % interval, EUR/kWh."""

    hour: datetime
    yhat: float
    lower: float
    upper: float


class ForecastModel(Protocol):
    """A model. Both methods may look only at prices before the delivery day, whatever they are given."""

    @property
    def name(self) -> str:
        """The name in the metrics history."""
        ...

    @property
    def version(self) -> str:
        """Changes with everything that changes forecasts: errors of two versions are not compared."""
        ...

    @property
    def training_days(self) -> int:
        """How many days of prices before the delivery day it can use."""
        ...

    def fit(self, prices: Prices, day: date, market: Market) -> FittedModel:
        """Fit for ``day``.

        Raises:
            NotEnoughPricesError: there are too few prices before it.
        """
        ...

    def predict(self, fitted: FittedModel, prices: Prices, market: Market) -> list[HourForecast]:
        """Every hour of the day it was fitted for.

        Raises:
            NotEnoughPricesError: there are too few prices before it.
        """
        ...
