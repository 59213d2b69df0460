"""The resources that assets, checks and sensors share: settings, sidecars and the store.

Settings are read when a resource is first used, not when the code location loads: definitions load with no
secret and no server at hand, and no secret becomes resource configuration that the UI would show.
"""

import os
from functools import lru_cache

import dagster as dg

from tsobs_pipelines.demo.embedded import simulated_url
from tsobs_pipelines.settings import Settings, settings_of_process
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.open import open_sidecar
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.open import open_store
from tsobs_pipelines.timeseries.store import TimeSeriesStore


@lru_cache(maxsize=1)
def _open_store(_pid: int) -> TimeSeriesStore:
    return open_store(opened.settings())


@lru_cache
def _open_sidecar(_pid: int, tailnet: str) -> TailscaleHealthService:
    watched = {one.name: one for one in opened.settings().tailnets}
    return open_sidecar(watched[tailnet], simulated_url)


class Opened:
    """What a process has opened, each at its first use and shared by its runs; a fork opens its own.

    Tests exchange its methods to hand out parts of their own.
    """

    def settings(self) -> Settings:
        """The settings of this process."""
        return settings_of_process()

    def store(self) -> TimeSeriesStore:
        """The store that they choose."""
        return _open_store(os.getpid())

    def sidecar(self, tailnet: str) -> TailscaleHealthService:
        """The client of a tailnet's sidecar, with its pool of connections."""
        return _open_sidecar(os.getpid(), tailnet)


opened = Opened()


class SettingsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The settings of this process."""

    def get(self) -> Settings:
        """The settings, read once a process.

        Raises:
            SettingsError: a value can't be used.
        """
        return opened.settings()


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The time-series store."""

    def get(self) -> TimeSeriesStore:
        """The store of this process, opened at its first use."""
        return opened.store()


class SidecarResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The sidecar of each tailnet, or the demo tailnet behind the same contract."""

    def of(self, tailnet: Tailnet) -> TailscaleHealthService:
        """This process's client of the tailnet, with its pool of connections."""
        return opened.sidecar(tailnet.name)


def default_resources() -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    """Every resource by its key."""
    return {"settings": SettingsResource(), "store": StoreResource(), "sidecar": SidecarResource()}
