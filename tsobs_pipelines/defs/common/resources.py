"""The resources that assets, checks and sensors share.

What belongs here: how a run gets settings, the sidecar and the store, opened once a process and shared, so
that a run in a warm worker pays for no connection. What does not: what is done with them.

Settings are read when a resource is first used, not when the code location loads: definitions load with no
secret and no server at hand, and no secret becomes resource configuration that the UI would show.
"""

import os
from functools import lru_cache

import dagster as dg

from tsobs_pipelines.demo.embedded import simulated_url
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.open import open_sidecar
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.open import open_store
from tsobs_pipelines.timeseries.store import TimeSeriesStore


@lru_cache(maxsize=1)
def _settings(_pid: int) -> Settings:
    return load_settings()


@lru_cache(maxsize=1)
def _store(_pid: int) -> TimeSeriesStore:
    return open_store(_settings(os.getpid()))


@lru_cache
def _sidecar(_pid: int, tailnet: str) -> TailscaleHealthService:
    watched = {one.name: one for one in _settings(os.getpid()).tailnets}
    return open_sidecar(watched[tailnet], simulated_url)


class SettingsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The settings of this process."""

    def get(self) -> Settings:
        """The settings, read once a process.

        Raises:
            SettingsError: a value can't be used.
        """
        return _settings(os.getpid())


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The time-series store."""

    def get(self) -> TimeSeriesStore:
        """The store of this process, opened at its first use."""
        return _store(os.getpid())


class SidecarResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The sidecar of each tailnet, or the demo tailnet behind the same contract."""

    def of(self, tailnet: Tailnet) -> TailscaleHealthService:
        """This process's client of the tailnet, with its pool of connections."""
        return _sidecar(os.getpid(), tailnet.name)


def default_resources() -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    """Every resource by its key."""
    return {"settings": SettingsResource(), "store": StoreResource(), "sidecar": SidecarResource()}
