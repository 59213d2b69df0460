"""Stored results of forecast evaluations, so that rules can continue from them and evaluate them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import delete, insert, select

from tsobs_pipelines.alerting.evaluation import Observe, Observed, SignalsOf
from tsobs_pipelines.alerting.evidence import ForecastEvidence, ForecastObservation, Signals
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.store import AlertStore, Progress
from tsobs_pipelines.alerting.tables import alert_transaction, ensure_tables, observations
from tsobs_pipelines.database import reading
from tsobs_pipelines.timeseries.store import Window

_FIELDS = [field.name for field in fields(ForecastObservation)]
_INSTANT = timedelta(microseconds=1)
_LIVE_DAYS = timedelta(days=1)


def keep_observations(
    alert_store: AlertStore, seen: Sequence[ForecastObservation]
) -> list[ForecastObservation]:
    """Keep observations, the later of two for the same model and time; those that say something new."""
    newest = {(one.model, one.time): one for one in seen}
    if not newest:
        return []
    times = [one.time for one in newest.values()]
    known = {
        (one.model, one.time): one
        for one in read_observations(alert_store, min(times), max(times) + _INSTANT)
    }
    new = [one for key, one in newest.items() if known.get(key) != one]
    if not new:
        return []
    with alert_transaction(alert_store.engine) as connection:
        for one in new:
            connection.execute(
                delete(observations).where(
                    observations.c.scope == alert_store.scope,
                    observations.c.model == one.model,
                    observations.c.time == one.time,
                )
            )
        connection.execute(insert(observations), [{"scope": alert_store.scope, **asdict(one)} for one in new])
    return new


def read_observations(alert_store: AlertStore, start: datetime, end: datetime) -> list[ForecastObservation]:
    """The observations with ``start <= time < end``, in the order of time."""
    ensure_tables(alert_store.engine)
    query = (
        select(*(observations.c[name] for name in _FIELDS))
        .where(
            observations.c.scope == alert_store.scope, observations.c.time >= start, observations.c.time < end
        )
        .order_by(observations.c.time, observations.c.model)
    )
    with reading(alert_store.engine) as connection:
        return [ForecastObservation(*row) for row in connection.execute(query)]


def observe_forecasts(alert_store: AlertStore, rule: Rule, now: datetime) -> Observe:
    """How a rule over forecasts reads on; its first evaluation starts at the UTC day before ``now``'s."""
    evidence = _forecast_evidence(rule)

    def observe(before: Progress | None) -> Observed:
        midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
        start = before.evaluated_until if before else midnight - _LIVE_DAYS
        signals = evidence.signals(read_observations(alert_store, start, now + _INSTANT))
        # Progress stops before a day without a verdict: late prices may still give it one.
        until = max([one.time + _INSTANT for mine in signals.values() for one in mine], default=start)
        return Observed(start, until, signals)

    return observe


def past_forecasts(alert_store: AlertStore, rule: Rule) -> SignalsOf:
    """How the past of a rule over forecasts is read."""
    evidence = _forecast_evidence(rule)

    def signals(window: Window) -> Signals:
        return evidence.signals(read_observations(alert_store, window.start, window.end))

    return signals


def _forecast_evidence(rule: Rule) -> ForecastEvidence:
    if not isinstance(rule.evidence, ForecastEvidence):
        msg = f"alert rule {rule.key!r} is not judged by forecasts"
        raise TypeError(msg)
    return rule.evidence
