"""The registry of stores, and the one that the settings select."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name

from tsobs_pipelines.registry import Registry
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.timeseries.store import TimeSeriesStore


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store.

    ``is_set`` says whether the settings ask for it. ``opener`` is a function ``module:name`` of the settings,
    imported when it is needed: each kind brings libraries that the others do without.
    """

    key: str
    is_set: Callable[[Settings], bool]
    opener: str


STORES: Registry[StoreKind] = Registry(
    "store",
    (
        StoreKind(
            "influx",
            lambda settings: any((settings.influx_url, settings.influx_org, settings.influx_token)),
            "tsobs_pipelines.timeseries.influx:open_influx",
        ),
    ),
)
"""The first one that is set is opened, else :data:`DEFAULT`."""

DEFAULT = StoreKind("sql", lambda _settings: True, "tsobs_pipelines.timeseries.sql:open_sql")
"""SQL, which needs nothing to be set."""


def open_store(settings: Settings) -> TimeSeriesStore:
    """The store that the settings ask for; nothing is sent yet.

    Raises:
        SettingsError: only a part of what it needs is set.
        StoreError: it can't be opened with these settings.
    """
    kind = next((kind for kind in STORES.values() if kind.is_set(settings)), DEFAULT)
    store: TimeSeriesStore = resolve_name(kind.opener)(settings)
    return store
