"""The incidents that the API returns, and the fields of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine

from tsobs_pipelines.alerting import history
from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.history import FirstMessage, Incident
from tsobs_pipelines.alerting.rules import RULES
from tsobs_pipelines.api.schemas import Alert, AlertMessage, AlertState
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.forecasting.prices.open import alert_scope
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet_settings import Tailnet


class AlertHistory:
    """The incidents of what these settings watch: those of the demo are shown only where the demo is on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tailnets = {tailnet.name for tailnet in settings.tailnets}
        self._prices = alert_scope(settings)

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
        """The tailnets', and those of every model on these prices (``defs.alerts.model_alert_store``)."""
        scope = incident.scope
        return scope in self._tailnets or scope == self._prices or scope.endswith(f"/{self._prices}")


def alert_of(incident: Incident, settings: Settings) -> Alert:
    """An incident as the API answers it."""
    tailnet = next((one for one in settings.tailnets if one.name == incident.scope), None)
    state: AlertState = "historical" if incident.origin == "historical" else "firing"
    if state == "firing" and incident.until is not None:
        state = "resolved"
    return Alert(
        topic=incident.topic,
        tailnet=tailnet.name if tailnet else None,
        rule=incident.rule,
        subject=incident.subject,
        severity=incident.severity,
        state=state,
        since=incident.since,
        until=incident.until,
        value=incident.value,
        worst=incident.worst,
        threshold=incident.threshold,
        detail=incident.detail,
        fate=incident.first_message.fate,
        title=incident.title,
        unit=incident.unit,
        icon=incident.icon,
        message=_message(incident.first_message),
        source_url=_source_url(incident, tailnet, settings.dagster_url),
    )


def _message(first: FirstMessage) -> AlertMessage | None:
    if first.at is None:
        return None
    return AlertMessage(id=first.message, at=first.at, text=first.text, fate=first.fate, reason=first.reason)


def _source_url(incident: Incident, tailnet: Tailnet | None, dagster_url: str) -> str | None:
    if incident.first_message.run_id:
        return f"{dagster_url}/runs/{incident.first_message.run_id}"
    rule = RULES.get(incident.rule)
    if tailnet is None or rule is None or not isinstance(rule.evidence, RowEvidence):
        return None
    asset = "connection_metrics" if tailnet.first else f"{tailnet.name}/connection_metrics"
    return f"{dagster_url}/assets/{asset}?view=partitions&partition={incident.since:%Y-%m-%d}"
