"""The route of firing alerts and recent incidents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from tsobs_pipelines.api.errors import documented
from tsobs_pipelines.api.routers.access import POLLED, InContext
from tsobs_pipelines.api.schemas import AlertsAnswer
from tsobs_pipelines.api.series import MAX_HOURS

router = APIRouter(tags=["alerts"])


@router.get("/alerts", response_model=AlertsAnswer, responses=documented(422, 503))
async def alerts(
    request: Request,
    context: InContext,
    hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="how far back `recent` reaches")] = 720,
    limit: Annotated[int, Query(ge=1, le=1000, description="at most so many in `recent`")] = 100,
) -> Response:
    """Firing alerts, and the incidents that were open or began in the last `hours`."""
    return (await context.views.alerts(hours, limit)).response(request, POLLED)
