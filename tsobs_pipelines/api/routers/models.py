"""The routes under ``/models``: forecasts, and the history of their errors."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator

from tsobs_pipelines.api.errors import documented
from tsobs_pipelines.api.price_forecast import FIRST_DAY, LAST_DAY
from tsobs_pipelines.api.routers.access import POLLED, InContext
from tsobs_pipelines.api.schemas import ForecastDay, MetricsHistory
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL

router = APIRouter(prefix="/models", tags=["models"])

MAX_ROWS = 10_000

ModelName = Annotated[str, Query(max_length=200, description=f"name of the model; empty: `{DEFAULT_MODEL}`")]


def _iso_day(value: object) -> object:
    """Only ``YYYY-MM-DD``: pydantic would also take a number of seconds, and basic formats, for a day."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        msg = "expected a day as YYYY-MM-DD"
        raise ValueError(msg)
    return value


Day = Annotated[
    date | None,
    BeforeValidator(_iso_day),
    Query(
        ge=FIRST_DAY,
        le=LAST_DAY,
        description=f"delivery day in the market's zone, {FIRST_DAY} to {LAST_DAY}; left out: today's",
        # The document has no other way to say a range of dates.
        json_schema_extra={"pattern": "^20[0-9]{2}-[0-9]{2}-[0-9]{2}$"},
    ),
]


@router.get("/forecast", response_model=ForecastDay, responses=documented(404, 422, 503))
async def forecast(
    request: Request, context: InContext, model_name: ModelName = "", day: Day = None
) -> Response:
    """Prices and the frozen forecast of one delivery day, hour by hour.

    What has not been published or issued yet is null; tomorrow's forecast is issued at 09:00 UTC.
    """
    return (await context.views.forecast(model_name or DEFAULT_MODEL, day)).response(request, POLLED)


@router.get("/metrics-history", response_model=MetricsHistory, responses=documented(404, 422, 503))
async def metrics_history(
    request: Request,
    context: InContext,
    model_name: ModelName = "",
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="the last so many evaluations")] = 100,
) -> Response:
    """The last evaluations of a model, oldest first, and the verdict on the newest one.

    The forecast's own model is known before its first evaluation: it has none then.
    """
    return (await context.views.model(model_name or DEFAULT_MODEL, limit)).response(request, POLLED)
