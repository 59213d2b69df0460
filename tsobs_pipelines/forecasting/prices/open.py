"""The price source that the settings choose."""

from __future__ import annotations

from pkgutil import resolve_name

from tsobs_pipelines.forecasting.prices.source import PriceSource
from tsobs_pipelines.price_sources import chosen_source
from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import Settings, SettingsError


def open_price_source(settings: Settings) -> PriceSource:
    """The configured source; nothing is asked of it yet.

    Raises:
        SettingsError: there is no such source, or it can't be opened with these settings.
    """
    try:
        chosen = chosen_source(settings.price_source)
        source: PriceSource = resolve_name(chosen.kind.opener)(chosen.argument, settings)
    except ValueError as error:
        raise SettingsError(f"TSOBS_PRICE_SOURCE={shown_value(settings.price_source)}: {error}") from None
    return source


def alert_scope(settings: Settings) -> str:
    """The scope under which alerts about forecasts of the configured prices are kept."""
    return f"prices-{open_price_source(settings).name}"
