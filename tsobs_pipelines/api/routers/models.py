"""The history of the forecast's errors.

What belongs here: ``/models/…``. What does not: evaluating a forecast.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from tsobs_pipelines.api.errors import documented
from tsobs_pipelines.api.routers.access import POLLED, InContext
from tsobs_pipelines.api.schemas import MetricsHistory
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL

router = APIRouter(prefix="/models", tags=["models"])

MAX_ROWS = 10_000


@router.get("/metrics-history", response_model=MetricsHistory, responses=documented(404, 422, 503))
async def metrics_history(
    request: Request,
    context: InContext,
    model_name: Annotated[
        str, Query(max_length=200, description=f"name of the model; empty: `{DEFAULT_MODEL}`")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="the last so many evaluations")] = 100,
) -> Response:
    """The last evaluations of a model, oldest first, and what the newest one means.

    The forecast's own model is known before its first evaluation: it has none then.
    """
    return (await context.views.model(model_name or DEFAULT_MODEL, limit)).response(request, POLLED)
