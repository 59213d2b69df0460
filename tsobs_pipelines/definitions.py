"""The code location: the definitions of all domains, combined."""

from __future__ import annotations

import warnings

import dagster as dg

from tsobs_pipelines.defs.alerts.definitions import alert_definitions
from tsobs_pipelines.defs.common.freshness import with_freshness
from tsobs_pipelines.defs.common.partitions import utc_days
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.common.run_logs import run_loggers
from tsobs_pipelines.defs.common.shown import with_presentation
from tsobs_pipelines.defs.forecast.assets import MODELS, forecast_definitions
from tsobs_pipelines.defs.operations.housekeeping import housekeeping_definitions
from tsobs_pipelines.defs.tailnet.assets import connection_assets, tick_job, tick_schedule
from tsobs_pipelines.defs.tailnet.checks import check_connections
from tsobs_pipelines.defs.tailnet.healing import healing_job, healing_sensor
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.tailnet_settings import Tailnet

# Single-run backfills and multi-asset checks have long been in beta; saying so at each start helps nobody.
for _category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=_category)


def connection_definitions(settings: Settings) -> dg.Definitions:
    """The tailnets' side: of each journal, metrics, diagnostics, summary, checks and schedule; healing."""
    tailnets = settings.tailnets
    healing = [healing_job(tailnet) for tailnet in tailnets]
    return dg.Definitions.merge(
        *(_tailnet_definitions(tailnet, settings) for tailnet in tailnets),
        dg.Definitions(jobs=healing, sensors=[healing_sensor(healing, settings.start_date)]),
    )


def _tailnet_definitions(tailnet: Tailnet, settings: Settings) -> dg.Definitions:
    specs, assets = connection_assets(utc_days(settings.start_date), tailnet)
    tick = tick_job(tailnet)
    return dg.Definitions(
        assets=[*specs, *assets],
        asset_checks=[check_connections(tailnet)],
        jobs=[tick],
        schedules=[tick_schedule(tick, tailnet)],
    )


def build_defs(settings: Settings | None = None) -> dg.Definitions:
    """Everything that Dagster sees.

    Raises:
        SettingsError: a setting has a value that can't be used.
    """
    settings = settings or load_settings()
    merged = dg.Definitions.merge(
        dg.Definitions(resources=default_resources(), executor=dg.in_process_executor, loggers=run_loggers()),
        connection_definitions(settings),
        forecast_definitions(settings),
        alert_definitions(
            settings.tailnets,
            [model.name for model in MODELS],
            [tick_job(tailnet) for tailnet in settings.tailnets],
        ),
        housekeeping_definitions(),
    )
    return with_presentation(with_freshness(merged), settings)


defs = build_defs()
