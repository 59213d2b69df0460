"""The pictures of alert runs: which rules have one, and the data that they show."""

from collections.abc import Callable
from datetime import datetime, timedelta

from tsobs_pipelines.alerting.drawing import DrawnHour, DrawnLatency, forecast_picture, latency_picture
from tsobs_pipelines.alerting.pictures import Draw, Wanted, send_pictures
from tsobs_pipelines.alerting.rule import AlertAsset
from tsobs_pipelines.alerting.rules import rules_of
from tsobs_pipelines.alerting.rules.latency import BUCKET, LATENCY
from tsobs_pipelines.alerting.rules.mae import MAE
from tsobs_pipelines.alerting.rules.skill import SKILL
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.defs.alerts.scopes import alert_engine
from tsobs_pipelines.forecasting.delivery import market_of
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import FrozenForecast, Subject, read_hours
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Aggregate, TimeSeriesStore, Window

DAY = timedelta(days=1)

_MEAN = Aggregate("latency_avg", "mean", "mean")


def follow_with_pictures(
    settings: Settings, store: Callable[[], TimeSeriesStore], alert: AlertAsset, now: datetime
) -> list[str]:
    """Send the pictures of the asset's messages; what became of each, by message."""
    draws = _draws(settings, store, now)
    rules = [rule for rule in rules_of(alert) if rule.key in draws]
    bot = Telegram.from_settings(settings)
    if bot is None or not settings.telegram_pictures or not rules:
        return []
    return send_pictures(alert_engine(settings), bot, rules, lambda wanted: draws[wanted.rule](wanted), now)


def _draws(settings: Settings, store: Callable[[], TimeSeriesStore], now: datetime) -> dict[str, Draw]:
    """How the messages of a rule are drawn, by its key; those of the others have no picture."""

    def forecast(wanted: Wanted) -> bytes:
        return draw_forecast(settings, store(), wanted, now)

    return {
        LATENCY.key: lambda wanted: draw_latency(store(), wanted, now),
        MAE.key: forecast,
        SKILL.key: forecast,
    }


def draw_latency(store: TimeSeriesStore, wanted: Wanted, now: datetime) -> bytes:
    """The node's last 24 hours in 5-minute means, with the limit of the message."""
    where = {"tailnet": wanted.scope, "hostname": wanted.subject}
    buckets = store.downsample(CONNECTIONS, Window.trailing(now, DAY), BUCKET, [_MEAN], where)
    points = [DrawnLatency(bucket.time, bucket["mean"]) for bucket in buckets]
    return latency_picture(wanted.subject, points, wanted.limit, BUCKET)


def draw_forecast(settings: Settings, store: TimeSeriesStore, wanted: Wanted, now: datetime) -> bytes:
    """Forecast and prices of yesterday and today, by delivery hour."""
    market = market_of(settings)
    today = market.day_of(now)
    subject = Subject(open_price_source(settings).name, wanted.subject, market)
    prices, issued = read_hours(store, subject, Window(market.start_of(today - DAY), market.end_of(today)))
    hours = [*market.hours_of(today - DAY), *market.hours_of(today)]
    points = [_hour(hour, prices.get(hour), issued.get(hour)) for hour in hours]
    return forecast_picture(wanted.subject, points, market.zone)


def _hour(hour: datetime, price: float | None, issued: FrozenForecast | None) -> DrawnHour:
    if issued is None:
        return DrawnHour(hour, None, None, None, price)
    return DrawnHour(hour, issued.yhat, issued.lower, issued.upper, price)
