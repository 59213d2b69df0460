"""The alert history behind the protocol of ``dependencies.py``.

What belongs here: which incidents are shown. What does not: how they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine

from tsobs_pipelines.alerting import history
from tsobs_pipelines.alerting.history import Incident
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.settings import Settings


class AlertHistory:
    """The incidents of what these settings watch: those of the demo are shown only where the demo is on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tailnets = {tailnet.name for tailnet in settings.tailnets}
        self._prices = settings.price_alert_scope

    def firing(self) -> Sequence[Incident]:
        """What fires now, the longest first."""
        return [incident for incident in history.firing(self._engine()) if self._is_ours(incident)]

    def recent(self, since: datetime, limit: int) -> Sequence[Incident]:
        """The incidents since then, newest first, at most ``limit``."""
        found: list[Incident] = []
        asked = limit
        while True:
            rows = history.recent(self._engine(), since, asked)
            found = [incident for incident in rows if self._is_ours(incident)]
            if len(found) >= limit or len(rows) < asked:
                return found[:limit]
            asked *= 4

    def _engine(self) -> Engine:
        return engine_for(self._settings.database_url)

    def _is_ours(self, incident: Incident) -> bool:
        """The tailnets', and those of every model on these prices (``defs.alerts.model_book``)."""
        scope = incident.scope
        return scope in self._tailnets or scope == self._prices or scope.endswith(f"/{self._prices}")
