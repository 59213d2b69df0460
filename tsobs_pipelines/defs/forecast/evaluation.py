"""The asset ``forecast_evaluation`` and its checks: frozen forecasts against actual prices.

A run without a new price imports neither Prophet nor pandas nor matplotlib, logs no row, and says so in its
metadata.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import dagster as dg

from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.failures import permanent_failures_at_once
from tsobs_pipelines.defs.common.network import NETWORK_RETRIES
from tsobs_pipelines.defs.common.reports import EvaluationReport, Plain
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.common.shown import described
from tsobs_pipelines.defs.forecast.io import tracker_of
from tsobs_pipelines.defs.forecast.keys import (
    BASELINE_DAYS,
    GROUP,
    MAE_CHECK,
    PRICES_KEY,
    SCORING_DAYS,
    SKILL_CHECK,
    DeliveryDays,
    ForecastKeys,
    days_before,
)
from tsobs_pipelines.forecasting.daily_evaluation import EvaluatedDay, evaluate_days
from tsobs_pipelines.forecasting.delivery import Market, market_of
from tsobs_pipelines.forecasting.picture import forecast_picture
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import Subject
from tsobs_pipelines.forecasting.verdict import SKILL_LIMIT, ForecastVerdict, describe
from tsobs_pipelines.price_sources import source_label

PICTURES_A_RUN = 31
"""A picture takes 0.1 s: a long backfill draws those of its newest days."""


@dataclass(frozen=True)
class _Names:
    model: str
    keys: ForecastKeys


def evaluation_asset(model_name: str, keys: ForecastKeys, days: DeliveryDays) -> dg.AssetsDefinition:
    """The evaluation of each delivery day, and of the day under way every five minutes."""
    names = _Names(model_name, keys)

    @dg.asset(
        key=keys.evaluation,
        group_name=GROUP,
        kinds={"metrics"},
        deps=[
            dg.AssetDep(keys.forecast, partition_mapping=days_before(BASELINE_DAYS, last=0)),
            dg.AssetDep(PRICES_KEY, partition_mapping=days_before(SCORING_DAYS, last=0)),
        ],
        partitions_def=days.evaluations,
        # One run that evaluates the days in order: the baseline of a day is computed from the days before it.
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=NETWORK_RETRIES,
        check_specs=[
            dg.AssetCheckSpec(
                MAE_CHECK,
                asset=keys.evaluation,
                description=described("forecast", "The MAE is at most twice its baseline."),
            ),
            dg.AssetCheckSpec(
                SKILL_CHECK,
                asset=keys.evaluation,
                description=described(
                    "forecast", f"The 7-day error is at most {SKILL_LIMIT} x the naive one."
                ),
            ),
        ],
        description=f"{model_name}: frozen forecasts scored against the actual prices.",
    )
    @permanent_failures_at_once()
    def forecast_evaluation(
        context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster wants it bare beside checks
        """Score the partitions' days, log what is new, and judge."""
        config = settings.get()
        market, source = market_of(config), open_price_source(config).name
        wanted = [date.fromisoformat(key) for key in context.partition_keys]
        found = evaluate_days(
            store.get(),
            tracker_of(config),
            Subject(source, model_name, market),
            wanted,
            utc_now(),
        )
        pictured = {each.day for each in found if each.logged and each.hours}
        pictured = set(sorted(pictured)[-PICTURES_A_RUN:])
        unreadable = [f"line {bad.number}: {bad.reason}" for bad in tracker_of(config).bad_lines()]
        for each in found:
            shown = evaluation_metadata(each, source, tracker_of(config).place)
            if unreadable:
                shown["unreadable_history_lines"] = dg.MetadataValue.json(unreadable[:20])
            if each.day in pictured:
                shown["picture"] = dg.MetadataValue.md(_picture(names, each, market))
            context.add_asset_metadata(shown, asset_key=keys.evaluation, partition_key=each.day.isoformat())
        return dg.MaterializeResult(check_results=list(_checks(names, found)))

    return forecast_evaluation


def evaluation_metadata(each: EvaluatedDay, source: str, place: str) -> dict[str, dg.MetadataValue]:
    """What the materialisation says: numbers that the UI plots, the verdict, and what was not scored."""
    shown: dict[str, dg.MetadataValue] = {
        "state": dg.MetadataValue.text(each.state),
        "source": dg.MetadataValue.text(source_label(source)),
        "history": dg.MetadataValue.path(place),
    }
    for name, value in each.metrics.items():
        if value is not None:
            shown[name] = dg.MetadataValue.float(value)
    shown |= {name: _value(value) for name, value in evaluation_report(each).written().items()}
    if each.evaluation is not None:
        shown["version"] = dg.MetadataValue.text(each.evaluation.version)
        for name, hours in (
            ("hours_without_price", each.evaluation.without_price),
            ("hours_without_forecast", each.evaluation.without_forecast),
            ("hours_refused", each.evaluation.refused),
        ):
            if hours:
                shown[name] = dg.MetadataValue.json([hour.isoformat() for hour in hours])
    if each.verdict is not None:
        shown |= _verdict_metadata(each.verdict)
    return shown


def evaluation_report(each: EvaluatedDay) -> EvaluationReport:
    """What the evaluation of a day reports to the alert sensors."""
    return replace(
        _verdict_report(each.verdict) if each.verdict is not None else EvaluationReport(),
        window=each.evaluation.window if each.evaluation is not None else None,
        mae=each.metrics.get("mae"),
        baseline_mae=each.metrics.get("baseline_mae"),
        naive_mae=each.metrics.get("naive_mae"),
    )


def _verdict_report(verdict: ForecastVerdict) -> EvaluationReport:
    return EvaluationReport(
        naive_baseline_mae=verdict.naive_baseline,
        skill_ratio_7d=verdict.skill_ratio,
        degraded=verdict.degraded,
    )


def _value(value: Plain) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    return dg.MetadataValue.text(value) if isinstance(value, str) else dg.MetadataValue.float(value)


def _verdict_metadata(verdict: ForecastVerdict) -> dict[str, dg.MetadataValue]:
    shown: dict[str, dg.MetadataValue] = {"verdict": dg.MetadataValue.text(describe(verdict))}
    if verdict.factor is not None:
        shown["mae_by_baseline"] = dg.MetadataValue.float(verdict.factor)
    return shown | {name: _value(value) for name, value in _verdict_report(verdict).written().items()}


def _picture(names: _Names, each: EvaluatedDay, market: Market) -> str:
    title = f"{names.model}, 24 hours to {each.hours[-1].hour.astimezone(market.zone):%Y-%m-%d %H:%M}"
    return forecast_picture(title, each.hours, each.prices, market)


def _checks(names: _Names, found: Sequence[EvaluatedDay]) -> Iterator[dg.AssetCheckResult]:
    """Both checks, on the newest day of the run that has a verdict; they fail where it has no forecast."""
    judged = next((each for each in reversed(found) if each.verdict is not None or each.no_forecast), None)
    verdict = judged.verdict if judged is not None else None
    unforecast = judged is not None and judged.no_forecast
    words = describe(verdict) if verdict is not None else "Nothing has been scored yet."
    if judged is not None and judged.no_forecast:
        asset = names.keys.model.to_user_string()
        words = f"No hour of {judged.day} was forecast (see the runs of {asset}). {words}"
    failed = {
        MAE_CHECK: unforecast or (verdict is not None and verdict.degraded is True),
        SKILL_CHECK: unforecast or (verdict is not None and verdict.skill_warning is True),
    }
    for name, bad in failed.items():
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=names.keys.evaluation,
            passed=not bad,
            severity=dg.AssetCheckSeverity.WARN,
            description=words,
            metadata=_verdict_metadata(verdict) if verdict is not None else {},
        )
