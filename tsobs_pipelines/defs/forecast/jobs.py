"""Jobs, schedules and the healing sensor of the forecast assets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

import dagster as dg

from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.defs.common.ranges import LONGEST_SPAN, at_work, range_tags
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.common.shown import shown
from tsobs_pipelines.defs.forecast.io import tracker_of
from tsobs_pipelines.defs.forecast.keys import PRICES_KEY, DeliveryDays, ForecastKeys
from tsobs_pipelines.forecasting.delivery import DAY, Market, market_of
from tsobs_pipelines.forecasting.gaps import DueDays, Gaps, find_gaps, lacking_prices
from tsobs_pipelines.forecasting.history_file import HistoryError
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import Subject, prices_from_rows
from tsobs_pipelines.run_tags import backfill_tags, tick_tags
from tsobs_pipelines.timeseries.schema import PRICES
from tsobs_pipelines.timeseries.spans import spans
from tsobs_pipelines.timeseries.store import StoreUnavailableError, Window

EVALUATE_CRON = "*/5 * * * *"
POLL_CRON = "*/15 * * * *"
REREAD_HOUR_UTC = 5
"""When the prices of yesterday and today are read once more, for corrections."""

HEALING_INTERVAL_S = 45
"""A first filling takes three looks: prices, then forecasts, then evaluations."""

REST = timedelta(minutes=5)
"""After a look that found nothing lacking: a look reads the whole history."""

NOTHING_LACKS = "Every due delivery day has its prices, forecast and evaluation."

LONG_SPAN = timedelta(days=100)
"""Of prices, which come a month a request, in no time, and of evaluations, which follow from one another."""

MIDNIGHT_GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Rest:
    """A pause of the healing sensor: to a time, or until prices or a forecast are newer than ``newest``."""

    until: datetime
    newest: int

    def holds(self, newest: int, now: datetime) -> bool:
        """Whether there is still nothing to look for."""
        # A clock that was set back does not make the pause longer.
        return newest == self.newest and self.until - REST <= now < self.until

    def written(self) -> str:
        """The pause as a cursor."""
        return f"{self.until.isoformat()} {self.newest}"

    @classmethod
    def read(cls, cursor: str | None) -> Self | None:
        """The pause that a cursor holds; ``None`` for what is no pause."""
        until, _, newest = (cursor or "").partition(" ")
        try:
            rest = cls(datetime.fromisoformat(until), int(newest))
        except ValueError:
            return None
        return rest if rest.until.tzinfo is not None else None


def forecast_jobs(days: DeliveryDays, model_names: Sequence[str]) -> dg.Definitions:
    """The jobs, schedules and sensors: prices once, the others for each model."""
    poll = _job("fetch_prices", "Fetches the prices that are out.", [PRICES_KEY], tick_tags())
    fill_prices = _job(
        "fill_prices", "Fetches the prices of past days that are lacking.", [PRICES_KEY], backfill_tags()
    )
    parts = [dg.Definitions(jobs=[poll, fill_prices], schedules=[_poll_schedule(poll)])]
    for position, name in enumerate(model_names):
        keys = ForecastKeys.of(name)
        suffix = f"_{name}" if position else ""
        issued = [keys.model, keys.forecast]
        issue = _job(
            f"issue_forecast{suffix}", f"{name}: fits, and issues the next day.", issued, tick_tags(600)
        )
        score = _job(
            f"evaluate_forecast{suffix}",
            f"{name}: scores the 24 hours to now.",
            [keys.evaluation],
            tick_tags(),
        )
        fill = _job(
            f"fill_forecasts{suffix}",
            f"{name}: forecasts of past days that are lacking, from what was known then.",
            issued,
            backfill_tags(),
        )
        rescore = _job(
            f"fill_evaluations{suffix}",
            f"{name}: evaluations of past days that are lacking or outdated.",
            [keys.evaluation],
            backfill_tags(),
        )
        parts.append(
            dg.Definitions(
                jobs=[issue, score, fill, rescore],
                schedules=[_issue_schedule(issue, days.market), _evaluate_schedule(score, days.market)],
                sensors=[_healing_sensor(name, suffix, days, (fill_prices, fill, rescore))],
            )
        )
    return dg.Definitions.merge(*parts)


def evaluated_days(scheduled: datetime, market: Market) -> list[date]:
    """The delivery days of a tick: today, and yesterday while its last hour may be unscored."""
    return sorted({market.day_of(scheduled - MIDNIGHT_GRACE), market.day_of(scheduled)})


def healing_requests(found: Gaps, jobs: Sequence[AssetJob], now: datetime) -> list[dg.RunRequest]:
    """One run for each span of days that lack something, at most once an hour for the same span.

    While prices are to be had, those come first: what follows from them is seen at the next look.
    """
    requests = []
    for job, lacking, reason in zip(
        jobs,
        (
            spans(found.prices, LONG_SPAN),
            spans(found.forecasts, LONGEST_SPAN),
            spans(found.evaluations, LONG_SPAN),
        ),
        ("prices are lacking", "forecasts are lacking", "evaluations are lacking or outdated"),
        strict=True,
    ):
        for first, last in lacking:
            requests.append(
                dg.RunRequest(
                    run_key=f"{job.name}/{now:%Y-%m-%dT%H}/{first}..{last}",
                    job_name=job.name,
                    tags=range_tags(first, last, reason),
                )
            )
    return requests


def _job(name: str, text: str, keys: Sequence[dg.AssetKey], tags: dict[str, str]) -> AssetJob:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*keys),
        executor_def=dg.in_process_executor,
        **shown("forecast", text, tags),
    )


def _issue_schedule(job: AssetJob, market: Market) -> dg.ScheduleDefinition:
    """The forecast of tomorrow, ahead of its prices: at 09:00 UTC in most markets."""
    at = market.issue
    usual = at.timezone == "UTC"

    @dg.schedule(
        name=f"{job.name}_at_9_utc" if usual else f"{job.name}_before_publication",
        job=job,
        cron_schedule=f"{at.time.minute} {at.time.hour} * * *",
        execution_timezone=at.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        **shown("forecast", "Issues the forecast of tomorrow, ahead of the publication of its prices."),
    )
    def issue(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        tomorrow = market.day_to_issue(context.scheduled_execution_time)
        return dg.RunRequest(run_key=f"{job.name}/{tomorrow}", partition_key=tomorrow.isoformat())

    return issue


def _evaluate_schedule(job: AssetJob, market: Market) -> dg.ScheduleDefinition:
    """Every five minutes, the 24 hours to now."""

    @dg.schedule(
        name=f"{job.name}_every_5_minutes",
        job=job,
        cron_schedule=EVALUATE_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        **shown("forecast", "Scores the frozen forecast of the 24 hours to now against the actual prices."),
    )
    def every_5_minutes(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        at = context.scheduled_execution_time
        return [
            dg.RunRequest(run_key=f"{job.name}/{at.isoformat()}/{day}", partition_key=day.isoformat())
            for day in evaluated_days(at, market)
        ]

    return every_5_minutes


def _poll_schedule(job: AssetJob) -> dg.ScheduleDefinition:
    """Every quarter of an hour, the recent days whose prices are out but not here; once a day, all."""

    @dg.schedule(
        name="fetch_prices_when_due",
        job=job,
        cron_schedule=POLL_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        **shown("forecast", "Fetches the prices of recent days that are out and not here."),
    )
    def fetch_when_due(
        context: dg.ScheduleEvaluationContext, settings: SettingsResource, store: StoreResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        at = context.scheduled_execution_time.astimezone(UTC)
        config = settings.get()
        market, source = market_of(config), open_price_source(config).name
        today = market.day_of(at)
        recent = [today - DAY, today, today + DAY]
        if (at.hour, at.minute) == (REREAD_HOUR_UTC, 0):
            wanted: Sequence[date] = recent[:2]
        else:
            span = Window(market.start_of(recent[0]), market.end_of(recent[-1]))
            try:
                known = prices_from_rows(store.get().read(PRICES, span, {"source": source}))
            except StoreUnavailableError as error:
                return dg.SkipReason(f"The store does not answer: {error}")
            wanted = lacking_prices(known, recent, market, at)
        if not wanted:
            return dg.SkipReason("Every price that is out is here.")
        return [
            dg.RunRequest(run_key=f"{at.isoformat()}/{first}", tags=range_tags(first, last))
            for first, last in spans(wanted, LONGEST_SPAN)
        ]

    return fetch_when_due


def _healing_sensor(
    model_name: str, suffix: str, days: DeliveryDays, jobs: Sequence[AssetJob]
) -> dg.SensorDefinition:
    """Evaluated every 45 seconds, on by default; skips while a run makes what it would request.

    The cursor is the :class:`Rest` after a look that found nothing.
    """
    keys = ForecastKeys.of(model_name)
    made = {PRICES_KEY, keys.model, keys.forecast, keys.evaluation}

    @dg.sensor(
        name=f"forecast_healing_sensor{suffix}",
        jobs=list(jobs),
        minimum_interval_seconds=HEALING_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        **shown("forecast", "Requests runs for delivery days that lack prices, a forecast or an evaluation."),
    )
    def sensor(
        context: dg.SensorEvaluationContext, settings: SettingsResource, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        now, newest = utc_now(), _newest(context.instance, [PRICES_KEY, keys.forecast])
        rest = Rest.read(context.cursor)
        if rest is not None and rest.holds(newest, now):
            return dg.SkipReason(f"{NOTHING_LACKS} Looks again at {rest.until:%H:%M:%S} UTC.")
        if (busy := at_work(context.instance, [job.name for job in jobs], made)) is not None:
            return dg.SkipReason(f"Under way: {busy}.")
        config = settings.get()
        try:
            found = find_gaps(
                store.get(),
                tracker_of(config),
                Subject(open_price_source(config).name, model_name, days.market),
                DueDays(days.first_price, days.first, days.market.day_of(now) + DAY),
                now,
            )
        except (StoreUnavailableError, HistoryError) as error:
            return dg.SkipReason(f"Can't see what is lacking: {error}")
        if not found:
            return dg.SensorResult(skip_reason=NOTHING_LACKS, cursor=Rest(now + REST, newest).written())
        return dg.SensorResult(run_requests=healing_requests(found, jobs, now), cursor="")

    return sensor


def _newest(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> int:
    """The storage id of the newest materialisation of these assets; 0 without one."""
    records = instance.get_asset_records(keys)
    return max((record.asset_entry.last_materialization_storage_id or 0 for record in records), default=0)
