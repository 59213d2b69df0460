"""Access to the app's state, for every router."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Request

from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.errors import NotFoundError, shown
from tsobs_pipelines.api.metrics import Metrics
from tsobs_pipelines.api.views import Views
from tsobs_pipelines.tailnet_settings import Tailnet

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

    def tailnet(self, name: str | None) -> Tailnet:
        """The tailnet of this name; the first one where none is named.

        Raises:
            NotFoundError: no tailnet has the name.
        """
        known = {tailnet.name: tailnet for tailnet in self.parts.settings.tailnets}
        found = self.parts.settings.first_tailnet if name is None else known.get(name)
        if found is None:
            raise NotFoundError(f"no tailnet {shown(name or '')}, expected one of {', '.join(known)}")
        return found


def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


InContext = Annotated[Context, Depends(_context)]
