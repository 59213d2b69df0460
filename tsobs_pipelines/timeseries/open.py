"""Opens the store that the settings name."""

from __future__ import annotations

from tsobs_pipelines.settings import Settings, SettingsError
from tsobs_pipelines.timeseries.store import TimeSeriesStore


def open_store(settings: Settings) -> TimeSeriesStore:
    """The store that the settings ask for: InfluxDB 2 when its URL is set, else SQL; nothing is sent yet.

    Raises:
        SettingsError: only a part of what InfluxDB needs is set.
        StoreError: the URL of the database can't be used.
    """
    # Each backend brings libraries that the other one does without.
    influx = {
        "INFLUXDB_V2_URL": settings.influx_url and settings.influx_url.get_secret_value(),
        "INFLUXDB_V2_ORG": settings.influx_org,
        "INFLUXDB_V2_TOKEN": settings.influx_token and settings.influx_token.get_secret_value(),
    }
    if not any(influx.values()):
        from tsobs_pipelines.timeseries.sql import SqlStore  # noqa: PLC0415

        return SqlStore(settings.database_url)
    missing = [name for name, value in influx.items() if not value]
    missing += [] if settings.influx_bucket else ["TSOBS_INFLUX_BUCKET"]
    if missing:
        present = [name for name, value in influx.items() if value]
        raise SettingsError(
            f"{' and '.join(missing)}: unset, expected a value beside {' and '.join(present)}"
        )
    from tsobs_pipelines.timeseries.influx import InfluxStore  # noqa: PLC0415
    from tsobs_pipelines.timeseries.influx_client import InfluxAddress  # noqa: PLC0415

    url, org, token = (value or "" for value in influx.values())
    return InfluxStore(InfluxAddress(url, org, settings.influx_bucket, token), settings.state_dir / "locks")
