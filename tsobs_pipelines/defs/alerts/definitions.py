"""Dagster's definitions of the alerts, combined."""

from collections.abc import Sequence

import dagster as dg

from tsobs_pipelines.defs.alerts.assets import alert_asset_definitions, alert_jobs
from tsobs_pipelines.defs.alerts.sensors import alert_sensors
from tsobs_pipelines.defs.alerts.watch import run_failure_sensor, silence_sensor
from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.tailnet_settings import Tailnet


def alert_definitions(
    tailnets: Sequence[Tailnet],
    models: Sequence[str] = (DEFAULT_MODEL,),
    ticks: Sequence[AssetJob] = (),
) -> dg.Definitions:
    """The alert assets, their jobs and the sensors.

    ``models`` are those whose forecasts are evaluated, ``ticks`` the jobs of the tailnets' collections.
    """
    jobs = alert_jobs()
    return dg.Definitions(
        assets=alert_asset_definitions(tailnets, models),
        jobs=list(jobs.values()),
        sensors=[*alert_sensors(jobs, models, ticks), silence_sensor(), run_failure_sensor()],
    )
