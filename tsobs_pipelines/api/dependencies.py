"""The dependencies of the routes: the other parts as small protocols, and one object that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

from tsobs_pipelines.alerting.depth import Depth
from tsobs_pipelines.alerting.history import Incident
from tsobs_pipelines.api.dagster_records import EndedRuns, Heartbeat, Tick, TickCount
from tsobs_pipelines.forecasting.history_file import MetricsRow
from tsobs_pipelines.logs.matching import LogQuery
from tsobs_pipelines.logs.search import LogResult
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet.client import ConnectionStats, SidecarHealth, WhoIs
from tsobs_pipelines.tailnet.ping import PingStats
from tsobs_pipelines.timeseries.store import TimeSeriesStore


class Sidecar(Protocol):
    """What the API needs from the sidecar's client; see ``tailnet/client.py`` for the errors."""

    def healthz(self) -> SidecarHealth: ...  # noqa: D102
    def get_tailscale_status(self) -> Mapping[str, object]: ...  # noqa: D102
    def observe_peer(self, hostname: str) -> tuple[ConnectionStats, PingStats]: ...  # noqa: D102
    def whois(self, ip: str) -> WhoIs | None: ...  # noqa: D102
    def get_network_diagnostics(self) -> Mapping[str, object]: ...  # noqa: D102
    def samples(self, day: date, after: datetime | None = None) -> Iterable[bytes]: ...  # noqa: D102


class Incidents(Protocol):
    """What the API asks of the alert history."""

    def firing(self) -> Sequence[Incident]: ...  # noqa: D102
    def recent(self, since: datetime, limit: int) -> Sequence[Incident]: ...  # noqa: D102


class Dagster(Protocol):
    """What the API asks of Dagster's records; see ``dagster_records.py`` for the errors."""

    def heartbeats(self) -> Sequence[Heartbeat]: ...  # noqa: D102
    def newest_ticks(self) -> Sequence[Tick]: ...  # noqa: D102
    def last_success(self, schedule: str) -> datetime | None: ...  # noqa: D102
    def tick_counts(self, since: datetime) -> Sequence[TickCount]: ...  # noqa: D102
    def ended_runs(self, since: datetime) -> Sequence[EndedRuns]: ...  # noqa: D102


class Tracker(Protocol):
    """What the API asks of the metrics history."""

    def rows(self, model_name: str) -> Sequence[MetricsRow]: ...  # noqa: D102


OutboxDepth = Callable[[], Depth]
LogSearch = Callable[[LogQuery, datetime], LogResult]


def utc_now() -> datetime:
    """The clock of the API."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the routes use, opened once a process."""

    settings: Settings
    store: TimeSeriesStore
    sidecars: Mapping[str, Sidecar]
    """One for each tailnet, by its name."""
    incidents: Incidents
    outbox: OutboxDepth
    dagster: Dagster
    tracker: Tracker
    search_logs: LogSearch
    clock: Callable[[], datetime] = utc_now
