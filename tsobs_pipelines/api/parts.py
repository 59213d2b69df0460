"""The parts of the API that the settings name."""

from __future__ import annotations

from functools import partial

from tsobs_pipelines.alerting.channels import channel_names
from tsobs_pipelines.alerting.depth import depth
from tsobs_pipelines.api.dagster_records import DagsterRecords
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.incidents import AlertHistory
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.demo.embedded import simulated_url
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.logs.search import search
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet.open import open_sidecar
from tsobs_pipelines.timeseries.open import open_store


def default_parts(settings: Settings) -> Parts:
    """The parts that the settings name; nothing is sent anywhere yet.

    Raises:
        SettingsError, StoreError: a part can't be made with these settings.
    """
    return Parts(
        settings=settings,
        store=open_store(settings),
        sidecars={tailnet.name: open_sidecar(tailnet, simulated_url) for tailnet in settings.tailnets},
        incidents=AlertHistory(settings),
        outbox=lambda: depth(engine_for(settings.database_url), channel_names(settings)),
        dagster=DagsterRecords(settings),
        tracker=ModelMetricsTracker(settings.models_dir, locks=settings.state_dir / "locks"),
        search_logs=partial(search, settings.state_dir / "logs"),
    )
