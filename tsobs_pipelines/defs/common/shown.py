"""What a person reads of each definition in Dagster's UI: description, links, owner, place of the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypedDict

import dagster as dg

from tsobs_pipelines.forecasting.metrics_tracker import HISTORY_NAME
from tsobs_pipelines.secret_url import below, masked
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.timeseries.schema import CONNECTIONS, FORECASTS, NETCHECK, PRICES, SUMMARY

Domain = Literal["tailnet", "forecast", "alerts", "operations"]

OWNERS = ("team:tsobs",)
DOMAIN_TAG = "tsobs/domain"
URI = "dagster/uri"

_PAGES: Mapping[Domain, str] = {
    "tailnet": "docs/TAILSCALE_LOGS.md",
    "forecast": "docs/ML_MONITORING.md",
    "alerts": "docs/ALERTS.md",
    "operations": "docs/OPERATIONS.md",
}
"""The page of the documentation about each domain."""

_MEASUREMENTS = {
    "connection_metrics": CONNECTIONS,
    "connection_summary": SUMMARY,
    "network_diagnostics": NETCHECK,
    "electricity_prices": PRICES,
    "price_forecast": FORECASTS,
}


class Shown(TypedDict):
    """Arguments that jobs, schedules and sensors have in common."""

    description: str
    owners: tuple[str, ...]
    tags: dict[str, str]


def shown(domain: Domain, text: str, tags: Mapping[str, str] | None = None) -> Shown:
    """Description, owners and tags of a definition; ``tags`` are its own."""
    return {
        "description": described(domain, text),
        "owners": OWNERS,
        "tags": {DOMAIN_TAG: domain, **(tags or {})},
    }


def described(domain: Domain, text: str) -> str:
    """The text as Markdown, with links to the page and the API, and where the documentation is."""
    page, api = _links()
    return f"{text}\n\n[Page]({page}) · [API]({api}) · documentation: `{_PAGES[domain]}`"


@lru_cache(maxsize=1)
def _links() -> tuple[str, str]:
    settings = load_settings()
    return settings.page_url, f"{settings.public_url}/docs"


def with_presentation(definitions: dg.Definitions, settings: Settings) -> dg.Definitions:
    """The definitions, each asset with description, owners, domain and the place of its data."""

    def add(spec: dg.AssetSpec) -> dg.AssetSpec:
        domain = _domain(spec)
        return spec.replace_attributes(
            description=described(domain, spec.description or ""),
            owners=OWNERS,
            tags={**spec.tags, DOMAIN_TAG: domain},
            metadata={**spec.metadata, URI: _place(spec.key, settings)},
        )

    return definitions.map_asset_specs(func=add)


def _domain(spec: dg.AssetSpec) -> Domain:
    # The group of a further tailnet has the tailnet's name behind it.
    return next(domain for domain in _PAGES if (spec.group_name or "").startswith(domain))


def _place(key: dg.AssetKey, settings: Settings) -> str:
    """Where the asset's data are, without credentials."""
    name = key.path[-1]
    if (measurement := _MEASUREMENTS.get(name)) is not None:
        return f"{_store(settings)}#{measurement.name}"
    match name:
        case "tailnet_journal":
            return _journal(key, settings)
        case "price_model":
            return _models(settings)
        case "forecast_evaluation":
            return f"{_models(settings)}/{HISTORY_NAME}"
        case "housekeeping" | "disk_use":
            return settings.state_dir.resolve().as_uri()
        case _:
            return f"{settings.public_url}/alerts"


def _store(settings: Settings) -> str:
    if settings.influx_url is not None:
        return masked(below(settings.influx_url, f"/{settings.influx_bucket}"))
    return str(settings.database_url)


def _journal(key: dg.AssetKey, settings: Settings) -> str:
    name = key.path[0] if len(key.path) > 1 else settings.first_tailnet.name
    tailnet = next(one for one in settings.tailnets if one.name == name)
    return masked(below(tailnet.sidecar_url, "/samples")) if tailnet.sidecar_url else "demo:tailnet"


def _models(settings: Settings) -> str:
    return settings.local_models.as_uri() if settings.local_models else masked(str(settings.models_dir))
