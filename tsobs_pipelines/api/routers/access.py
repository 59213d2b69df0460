"""What every router needs from the app it belongs to.

What belongs here: getting at the app's own objects, typed. What does not: routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Request

from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.metrics import Metrics
from tsobs_pipelines.api.views import Views

POLLED = "private, no-cache"
"""May be kept by the one browser that asked, which must ask each time whether it still holds (ETag)."""

UNKEPT = "no-store"


@dataclass(frozen=True, slots=True)
class Context:
    """The parts, views and counters of one app, and when it was made."""

    parts: Parts
    views: Views
    metrics: Metrics
    begun_at: datetime


def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


InContext = Annotated[Context, Depends(_context)]
