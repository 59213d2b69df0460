"""The connection assets as a stock Dagster project would run them: the reference of ``engine_run.py``."""

from __future__ import annotations

import dagster as dg
import pandas as pd  # noqa: F401 - imported at the top on purpose
import prophet  # noqa: F401 - likewise

from tsobs_pipelines.defs.common.partitions import utc_days
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.tailnet.assets import connection_assets
from tsobs_pipelines.defs.tailnet.checks import check_connections
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.settings import load_settings

settings = load_settings()
specs, assets = connection_assets(utc_days(settings.start_date), settings.first_tailnet)
defs = dg.Definitions(
    assets=[*specs, *assets],
    asset_checks=[check_connections(settings.first_tailnet)],
    jobs=[
        dg.define_asset_job(
            "collect_connections",
            selection=TailnetKeys.of(settings.first_tailnet).collected,
            executor_def=dg.multiprocess_executor,
        )
    ],
    resources=default_resources(),
)
