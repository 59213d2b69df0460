"""The asset ``electricity_prices`` and its check: the prices of delivery days, and missing ones."""

from collections.abc import Sequence
from datetime import date, datetime
from math import fsum
from typing import TypeAlias

import dagster as dg

from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.failures import permanent_failures_at_once
from tsobs_pipelines.defs.common.network import NETWORK_RETRIES
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.common.shown import described
from tsobs_pipelines.defs.forecast.keys import GROUP, PRICES_CHECK, PRICES_KEY, DeliveryDays
from tsobs_pipelines.forecasting.delivery import Market, market_of
from tsobs_pipelines.forecasting.prices.fetching import fetch_days
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.prices.quality import DayPrices, describe, judge_days
from tsobs_pipelines.forecasting.prices.source import (
    Fetched,
    PriceSourceError,
    PriceSourceUnavailableError,
)
from tsobs_pipelines.forecasting.scoring import prices_from_rows
from tsobs_pipelines.price_sources import source_label
from tsobs_pipelines.timeseries.schema import PRICES, PriceRow
from tsobs_pipelines.timeseries.store import StoreUnavailableError, TimeSeriesStore, Window

Metadata: TypeAlias = dict[str, dg.MetadataValue]


def price_asset(days: DeliveryDays) -> dg.AssetsDefinition:
    """The asset, its partitions the delivery days."""

    @dg.asset(
        key=PRICES_KEY,
        group_name=GROUP,
        kinds={"prices"},
        partitions_def=days.prices,
        # One request fetches a month of prices, so days share a run.
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=NETWORK_RETRIES,
        check_specs=[
            dg.AssetCheckSpec(
                PRICES_CHECK,
                asset=PRICES_KEY,
                description=described("forecast", "Each due hour has one price."),
            )
        ],
        description="Hourly electricity prices of each delivery day, EUR/kWh.",
    )
    @permanent_failures_at_once()
    def electricity_prices(
        context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster wants it bare beside checks
        """Fetch the partitions' days; days whose prices are not out yet are left alone."""
        config = settings.get()
        market, source = market_of(config), open_price_source(config)
        now = utc_now()
        wanted = [date.fromisoformat(key) for key in context.partition_keys]
        out = [day for day in wanted if market.published_at(day) <= now]
        try:
            fetched = fetch_days(source, out[0], out[-1]) if out else Fetched()
            found = judge_days(out, fetched, market)
            corrected = _keep(store.get(), source.name, found, market)
        except (PriceSourceUnavailableError, StoreUnavailableError) as error:
            raise dg.Failure(str(error), allow_retries=True) from error
        except PriceSourceError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        judged = {each.day: each for each in found}
        for day in wanted:
            shown = _metadata(day, judged.get(day), corrected.get(day, 0), source.name, market)
            if failed := [str(failure) for failure in fetched.failures if failure.concerns(day)]:
                shown["not_fetched"] = dg.MetadataValue.text("; ".join(failed))
            context.add_asset_metadata(shown, asset_key=PRICES_KEY, partition_key=day.isoformat())
        return dg.MaterializeResult(check_results=[_check(found, fetched, market, now)])

    return electricity_prices


def _keep(store: TimeSeriesStore, source: str, found: Sequence[DayPrices], market: Market) -> dict[date, int]:
    """Write what is new; gives the number of corrected hours by day. A price is never taken away."""
    if not found:
        return {}
    where = {"source": source}
    span = Window(market.start_of(found[0].day), market.end_of(found[-1].day))
    known = prices_from_rows(store.read(PRICES, span, where))
    changed = [
        PriceRow(hour, source, price)
        for each in found
        for hour, price in each.prices.items()
        if known.get(hour) != price
    ]
    if changed:
        store.write(PRICES, changed)
    return {
        each.day: sum(known.get(hour, price) != price for hour, price in each.prices.items())
        for each in found
    }


def _metadata(day: date, found: DayPrices | None, corrected: int, source: str, market: Market) -> Metadata:
    shown: Metadata = {"source": dg.MetadataValue.text(source_label(source))}
    if found is None:
        due = market.published_at(day)
        return shown | {"state": dg.MetadataValue.text(f"not published before {due:%Y-%m-%d %H:%M} UTC")}
    shown |= {
        "hours": dg.MetadataValue.int(len(found.prices)),
        "missing_hours": dg.MetadataValue.int(len(found.missing)),
        "corrected_hours": dg.MetadataValue.int(corrected),
    }
    if found.prices:
        values = list(found.prices.values())
        shown |= {
            "mean_eur_per_mwh": dg.MetadataValue.float(fsum(values) / len(values) * 1000),
            "min_eur_per_mwh": dg.MetadataValue.float(min(values) * 1000),
            "max_eur_per_mwh": dg.MetadataValue.float(max(values) * 1000),
        }
    if not found.complete:
        shown["incomplete"] = dg.MetadataValue.text(describe(found, market))
    return shown


def _check(
    found: Sequence[DayPrices], fetched: Fetched, market: Market, now: datetime
) -> dg.AssetCheckResult:
    """Fails on days that could not be had, and on hours missing when due, given twice, or without sense."""
    faults = [
        each
        for each in found
        if each.doubled
        or each.rejected
        or (each.missing and now >= market.overdue_at(each.day))
        or any(failure.concerns(each.day) for failure in fetched.failures)
    ]
    awaited = [each.day for each in found if each.missing and each not in faults]
    hours = sum(len(each.missing) for each in faults)
    texts = [*map(str, fetched.failures), *(text for each in faults if (text := describe(each, market)))]
    summary = "; ".join(texts[:5]) + (f"; and {len(texts) - 5} more" if len(texts) > 5 else "")
    if not summary:
        summary = f"{len(found) - len(awaited)} days complete" + (
            f", {', '.join(map(str, awaited))} awaited" if awaited else ""
        )
    metadata: Metadata = {
        "missing_hours": dg.MetadataValue.int(hours),
        "faults": dg.MetadataValue.json(texts),
    }
    if fetched.remarks:
        metadata["unreadable_rows"] = dg.MetadataValue.json(list(fetched.remarks))
        summary += f" (unreadable: {fetched.remarks[0]})"
    return dg.AssetCheckResult(
        check_name=PRICES_CHECK,
        asset_key=PRICES_KEY,
        passed=not texts,
        severity=dg.AssetCheckSeverity.ERROR,
        description=summary,
        metadata=metadata,
    )
