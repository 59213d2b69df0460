"""The assets of a forecast model: fitted model, frozen forecast, evaluation, and their definitions."""

from collections.abc import Sequence
from datetime import date, datetime
from math import fsum

import dagster as dg

from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.failures import permanent_failures_at_once
from tsobs_pipelines.defs.common.network import NETWORK_RETRIES
from tsobs_pipelines.defs.common.partitions import SHARED
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.forecast.evaluation import evaluation_asset
from tsobs_pipelines.defs.forecast.io import ModelFilesIOManager
from tsobs_pipelines.defs.forecast.jobs import forecast_jobs
from tsobs_pipelines.defs.forecast.keys import GROUP, PRICES_KEY, DeliveryDays, ForecastKeys, days_before
from tsobs_pipelines.defs.forecast.prices import price_asset
from tsobs_pipelines.forecasting.delivery import DAY, Market, market_of
from tsobs_pipelines.forecasting.models.interface import (
    FittedModel,
    ForecastModel,
    HourForecast,
    NotEnoughPricesError,
    Prices,
)
from tsobs_pipelines.forecasting.models.prophet_model import ProphetPriceForecast
from tsobs_pipelines.forecasting.picture import forecast_picture
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import (
    FrozenForecast,
    forecast_rows,
    frozen_from_rows,
    issue_moment,
    prices_from_rows,
)
from tsobs_pipelines.price_sources import source_label
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.timeseries.schema import FORECASTS, PRICES
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

MODELS: tuple[ForecastModel, ...] = (ProphetPriceForecast(),)
"""The models that are fitted, issued and evaluated; the first is the default one."""


def forecast_definitions(
    settings: Settings | None = None, models: Sequence[ForecastModel] = MODELS
) -> dg.Definitions:
    """Prices, and for each model its assets, checks, jobs, schedules and healing sensor.

    Needs the resources ``settings`` and ``store``; brings the IO managers of the model files.
    """
    config = settings or load_settings()
    market = market_of(config)
    days = DeliveryDays(config.start_date, max(model.training_days for model in models), market)
    parts = [dg.Definitions(assets=[price_asset(days)])]
    for model in models:
        keys = ForecastKeys.of(model.name)
        assets = [
            model_asset(model, keys, days),
            forecast_asset(model, keys, days),
            evaluation_asset(model.name, keys, days),
        ]
        files = ModelFilesIOManager(settings=SettingsResource(), model_name=model.name)
        parts.append(dg.Definitions(assets=assets, resources={io_key(model.name): files}))
    parts.append(forecast_jobs(days, [model.name for model in models]))
    return dg.Definitions.merge(*parts)


def io_key(model_name: str) -> str:
    """The resource key of the model's files."""
    return f"{model_name}_files"


def model_asset(model: ForecastModel, keys: ForecastKeys, days: DeliveryDays) -> dg.AssetsDefinition:
    """The fitted model of each delivery day."""

    @dg.asset(
        key=keys.model,
        group_name=GROUP,
        kinds={"prophet"},
        deps=[dg.AssetDep(PRICES_KEY, partition_mapping=days_before(model.training_days))],
        partitions_def=days.forecasts,
        backfill_policy=SHARED,
        retry_policy=NETWORK_RETRIES,
        io_manager_key=io_key(model.name),
        description=f"{model.name}, fitted for a delivery day on prices of the days before it.",
    )
    @permanent_failures_at_once()
    def price_model(
        context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource
    ) -> dict[str, FittedModel]:
        """Fit for the partitions' days."""
        config = settings.get()
        market, source = market_of(config), open_price_source(config).name
        wanted = [date.fromisoformat(key) for key in context.partition_keys]
        prices = read_prices(store.get(), source, wanted[0] - DAY * model.training_days, wanted[-1], market)
        fitted: dict[str, FittedModel] = {}
        refused: list[str] = []
        for day in wanted:
            shown: dict[str, dg.MetadataValue]
            try:
                fitted[day.isoformat()] = made = model.fit(prices, day, market)
                shown = _model_metadata(made, source)
            except NotEnoughPricesError as error:
                refused.append(str(error))
                shown = {"not_fitted": dg.MetadataValue.text(str(error))}
            context.add_asset_metadata(shown, asset_key=keys.model, partition_key=day.isoformat())
        if not fitted:
            raise dg.Failure(refused[0], allow_retries=False)
        return fitted

    return price_model


def forecast_asset(model: ForecastModel, keys: ForecastKeys, days: DeliveryDays) -> dg.AssetsDefinition:
    """The frozen forecast of each delivery day."""

    @dg.asset(
        key=keys.forecast,
        group_name=GROUP,
        kinds={"prophet"},
        ins={"fitted": dg.AssetIn(keys.model)},
        deps=[dg.AssetDep(PRICES_KEY, partition_mapping=days_before(7))],
        partitions_def=days.forecasts,
        backfill_policy=SHARED,
        retry_policy=NETWORK_RETRIES,
        description=f"{model.name}: each delivery day's forecast, issued the day before and never changed.",
    )
    @permanent_failures_at_once()
    def price_forecast(
        context: dg.AssetExecutionContext,
        settings: SettingsResource,
        store: StoreResource,
        fitted: dict[str, FittedModel],
    ) -> None:
        """Issue what has not been issued; a forecast that exists stays as it is."""
        config = settings.get()
        market, source, opened = market_of(config), open_price_source(config).name, store.get()
        wanted = [date.fromisoformat(key) for key in context.partition_keys]
        now = utc_now()
        where = {"source": source, "model": model.name}
        span = Window(market.start_of(wanted[0]), market.end_of(wanted[-1]))
        frozen = {each.hour: each for each in frozen_from_rows(opened.read(FORECASTS, span, where))}
        prices = read_prices(opened, source, wanted[0] - DAY * model.training_days, wanted[-1], market)
        issued: list[FrozenForecast] = []
        for day in wanted:
            hours = market.hours_of(day)
            key = day.isoformat()
            if all(hour in frozen for hour in hours):
                shown = _forecast_metadata([frozen[hour] for hour in hours], source)
                shown["state"] = dg.MetadataValue.text("frozen: issued before, left as it was")
            elif key in fitted:
                made = _frozen(model.predict(fitted[key], prices, market), fitted[key], day, now, market)
                made = [frozen.get(each.hour, each) for each in made]
                issued += [each for each in made if each.hour not in frozen]
                shown = _forecast_metadata(made, source)
                if day == wanted[-1]:
                    picture = forecast_picture(f"{model.name} for {day}", made, {}, market)
                    shown["forecast"] = dg.MetadataValue.md(picture)
            else:
                shown = {"state": dg.MetadataValue.text("no model was fitted for this day")}
            context.add_asset_metadata(shown, asset_key=keys.forecast, partition_key=key)
        if issued:
            opened.write(FORECASTS, forecast_rows(issued, source, model.name))

    return price_forecast


def read_prices(store: TimeSeriesStore, source: str, first: date, end: date, market: Market) -> Prices:
    """The prices from the day ``first`` up to, and without, the day ``end``."""
    span = Window(market.start_of(first), market.start_of(end))
    return prices_from_rows(store.read(PRICES, span, {"source": source}))


def _frozen(
    hours: Sequence[HourForecast], fitted: FittedModel, day: date, now: datetime, market: Market
) -> list[FrozenForecast]:
    issued_at, backfilled = issue_moment(day, now, market)
    return [
        FrozenForecast(
            hour=each.hour,
            version=fitted.version,
            yhat=each.yhat,
            lower=each.lower,
            upper=each.upper,
            issued_at=issued_at,
            trained_to=fitted.trained_to,
            backfilled=backfilled,
        )
        for each in hours
    ]


def _model_metadata(fitted: FittedModel, source: str) -> dict[str, dg.MetadataValue]:
    return {
        "source": dg.MetadataValue.text(source_label(source)),
        "version": dg.MetadataValue.text(fitted.version),
        "trained_from": dg.MetadataValue.text(fitted.trained_from.isoformat()),
        "trained_to": dg.MetadataValue.text(fitted.trained_to.isoformat()),
        "rows": dg.MetadataValue.int(fitted.rows),
        "details": dg.MetadataValue.json(dict(fitted.details)),
    }


def _forecast_metadata(hours: Sequence[FrozenForecast], source: str) -> dict[str, dg.MetadataValue]:
    values = [each.yhat * 1000 for each in hours]
    width = fsum((each.upper - each.lower) * 1000 for each in hours) / len(hours)
    return {
        "source": dg.MetadataValue.text(source_label(source)),
        "version": dg.MetadataValue.text(hours[0].version),
        "issued_at": dg.MetadataValue.text(hours[0].issued_at.isoformat()),
        "backfilled": dg.MetadataValue.bool(any(each.backfilled for each in hours)),
        "hours": dg.MetadataValue.int(len(hours)),
        "mean_eur_per_mwh": dg.MetadataValue.float(fsum(values) / len(values)),
        "min_eur_per_mwh": dg.MetadataValue.float(min(values)),
        "max_eur_per_mwh": dg.MetadataValue.float(max(values)),
        "interval_width_eur_per_mwh": dg.MetadataValue.float(width),
    }
