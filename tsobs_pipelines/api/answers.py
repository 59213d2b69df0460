"""Answers that depend on the parts and on what was asked for alone; ``views.py`` shares them between clients.

Each raises :class:`~tsobs_pipelines.api.errors.UnavailableError` when the part that it reads is down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

from tsobs_pipelines.alerting.depth import Depth
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.errors import NotFoundError, UnavailableError, shown
from tsobs_pipelines.api.incidents import alert_of
from tsobs_pipelines.api.missing import rounds_missing
from tsobs_pipelines.api.nodes import Live, live_status, newest_rows
from tsobs_pipelines.api.payload import Payload
from tsobs_pipelines.api.price_forecast import forecast_day, is_known
from tsobs_pipelines.api.schemas import (
    AlertsAnswer,
    ConnectionStats,
    ConnectionStatsAnswer,
    MetricsHistory,
    ModelMetrics,
    ModelVerdict,
    PingStats,
)
from tsobs_pipelines.api.self_metrics import COUNTED_SPAN, Records
from tsobs_pipelines.database import DatabaseError
from tsobs_pipelines.forecasting.delivery import market_of
from tsobs_pipelines.forecasting.history_file import HistoryError, MetricsRow
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import Subject
from tsobs_pipelines.forecasting.verdict import ForecastVerdict, describe, judge
from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.tailnet.peers import PeerError
from tsobs_pipelines.timeseries.schema import ConnectionRow
from tsobs_pipelines.timeseries.store import StoreError


@dataclass(frozen=True, slots=True)
class ProbeKey:
    """Which node to ping now."""

    tailnet: str
    hostname: str


@dataclass(frozen=True, slots=True)
class ForecastKey:
    """Which model's forecast of which delivery day."""

    model_name: str
    day: date


@contextmanager
def available() -> Iterator[None]:
    """Turn the errors of store and database in the block into an ``UnavailableError``."""
    try:
        yield
    except (StoreError, DatabaseError) as error:
        raise UnavailableError(str(error)) from error


def latest_rows(parts: Parts, span: timedelta, tailnet: str) -> Mapping[str, ConnectionRow]:
    """The newest row of each node that has one in the last ``span``."""
    with available():
        return newest_rows(parts.store, tailnet, parts.clock(), span)


def tailscaled_status(parts: Parts, tailnet: str) -> Live:
    """What tailscaled says now."""
    return live_status(parts.sidecars[tailnet])


def connection_stats(parts: Parts, key: ProbeKey) -> ConnectionStatsAnswer:
    """The path to a node and its latency, from pings that are sent now."""
    try:
        stats, pings = parts.sidecars[key.tailnet].observe_peer(key.hostname)
    except PeerError as error:
        raise NotFoundError(str(error)) from error
    except SidecarError as error:
        raise UnavailableError(str(error)) from error
    return ConnectionStatsAnswer(
        hostname=key.hostname,
        connection_stats=ConnectionStats.model_validate(stats),
        ping_stats=PingStats.model_validate(pings),
    )


def missing_rounds(parts: Parts, _key: None) -> Mapping[str, Mapping[str, int]]:
    """How many rounds of the last day each node of each tailnet lacks."""
    with available():
        now = parts.clock()
        return {one.name: rounds_missing(parts.store, one, now) for one in parts.settings.tailnets}


def alerts(parts: Parts, key: tuple[int, int]) -> Payload:
    """What fires, and the incidents of the last hours: ``key`` is how many hours, and at most how many."""
    hours, limit = key
    with available():
        firing = parts.incidents.firing()
        recent = parts.incidents.recent(parts.clock() - timedelta(hours=hours), limit)
    answer = AlertsAnswer(
        firing=[alert_of(incident, parts.settings) for incident in firing],
        recent=[alert_of(incident, parts.settings) for incident in recent],
    )
    return Payload.of_model(answer)


def metrics_history(parts: Parts, key: tuple[str, int]) -> Payload:
    """The last rows of a model's metrics history: ``key`` is the model's name, and how many rows."""
    model_name, limit = key
    try:
        rows = parts.tracker.rows(model_name)
    except (HistoryError, OSError) as error:
        raise UnavailableError(f"the metrics history can't be read: {error}") from error
    if not rows and model_name != DEFAULT_MODEL:
        raise NotFoundError(f"no model {shown(model_name)} in the metrics history")
    verdict = judge(rows)
    answer = MetricsHistory(
        model_name=model_name,
        metrics=[_metrics(row) for row in rows[-limit:]],
        verdict=None if verdict is None else _verdict(verdict),
    )
    return Payload.of_model(answer)


def forecast(parts: Parts, key: ForecastKey) -> Payload:
    """A model's forecast of a delivery day, beside the prices that are known."""
    settings = parts.settings
    subject = Subject(open_price_source(settings).name, key.model_name, market_of(settings))
    with available():
        answer = forecast_day(parts.store, subject, key.day)
        known = (
            key.model_name == DEFAULT_MODEL
            or answer.issued_at is not None
            or is_known(parts.store, subject, parts.clock())
        )
    if not known:
        raise NotFoundError(f"no forecast of a model {shown(key.model_name)}")
    return Payload.of_model(answer)


def records(parts: Parts, _key: None) -> Records:
    """What Dagster's records say of now and the last hour."""
    dagster, since = parts.dagster, parts.clock() - COUNTED_SPAN
    with available():
        return Records(
            dagster.heartbeats(),
            dagster.newest_ticks(),
            dagster.tick_counts(since),
            dagster.ended_runs(since),
        )


def outbox_depth(parts: Parts, _key: None) -> Depth:
    """What waits in the outbox."""
    with available():
        return parts.outbox()


def _metrics(row: MetricsRow) -> ModelMetrics:
    fixed: dict[str, object] = {
        "timestamp": row.window_end,
        "window_start": row.window_start,
        "window_end": row.window_end,
        "version": row.version,
        "logged_at": row.logged_at,
    }
    return ModelMetrics.model_validate({**row.metrics, **fixed})


def _verdict(verdict: ForecastVerdict) -> ModelVerdict:
    return ModelVerdict(
        mae=verdict.mae,
        baseline=verdict.baseline,
        days=verdict.days,
        degraded=verdict.degraded,
        naive_mae=verdict.naive_mae,
        naive_failed=verdict.naive_failed,
        skill_warning=verdict.skill_warning,
        window_end=verdict.window_end,
        text=describe(verdict),
    )
