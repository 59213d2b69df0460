"""Responses that clients poll, each computed once for all of them and cached for a few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from anyio import CapacityLimiter

from tsobs_pipelines.alerting.depth import Depth
from tsobs_pipelines.api import answers
from tsobs_pipelines.api.answers import ProbeKey, available
from tsobs_pipelines.api.cache import Shared
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.errors import NotFoundError, shown
from tsobs_pipelines.api.fresh import FreshReader, FreshRounds
from tsobs_pipelines.api.network import live_network, stored_network
from tsobs_pipelines.api.nodes import (
    KNOWN_FOR,
    RECENT,
    Live,
    Seen,
    names_of,
    snapshot,
)
from tsobs_pipelines.api.payload import Payload
from tsobs_pipelines.api.schemas import (
    ConnectionStatsAnswer,
    NodesAnswer,
    PartState,
)
from tsobs_pipelines.api.self_metrics import Records
from tsobs_pipelines.api.series import latency_history
from tsobs_pipelines.api.strips import PastDays, past_days, read_recent, strips
from tsobs_pipelines.forecasting.delivery import market_of
from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.tailnet.peers import peer_names
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.schema import ConnectionRow

LIVE_PATIENCE_S = 2.0
"""How long the latest state waits for the sidecar before it is answered without."""

FRESH_PATIENCE_S = 0.3
"""How long an answer waits for the newest rounds; the read goes on, and the next answer has them."""


@dataclass(frozen=True, slots=True)
class HistoryKey:
    """Which latency history."""

    tailnet: Tailnet
    hostname: str
    hours: int
    points: int


@dataclass(frozen=True, slots=True)
class SharedNodes:
    """The nodes, and the same as bytes."""

    answer: NodesAnswer
    payload: Payload


class _FreshShared(Shared[Tailnet, FreshRounds]):
    """Reads a journal again when another round must be there: about once an interval, for all who ask."""

    def fresh_for(self, value: FreshRounds) -> float:
        """Until the next round is written."""
        return value.wait_s


class Views:
    """The shared answers of one process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        store, sidecar = CapacityLimiter(3), CapacityLimiter(2)
        # What the page needs at once does not wait behind histories, of which there can be many.
        histories = CapacityLimiter(2)
        database, pings = CapacityLimiter(2), CapacityLimiter(4)
        # A netcheck takes four seconds and more: it must not hold up the status.
        netchecks = CapacityLimiter(1)
        # The tracker keeps what it has read of the file, without a lock: one thread at a time.
        tracker = CapacityLimiter(1)
        self._seen: dict[str, Seen] = {}
        self._stored_until: dict[str, datetime | None] = {}
        self._reader = FreshReader(parts.sidecars, parts.clock)
        self._fresh = _FreshShared(self._read_fresh, fresh_s=0, stale_s=0, limiter=sidecar)
        self._recent = Shared(
            partial(answers.latest_rows, parts, RECENT), fresh_s=4, stale_s=8, limiter=store
        )
        # A month is 100 times as much to read, and adds only nodes that have been silent for a day.
        self._older = Shared(
            partial(answers.latest_rows, parts, KNOWN_FOR), fresh_s=120, stale_s=600, limiter=store
        )
        self._nodes = Shared(self._read_nodes, fresh_s=5, stale_s=10, limiter=store)
        self._live = Shared(partial(answers.tailscaled_status, parts), fresh_s=4, stale_s=4, limiter=sidecar)
        # An entry of 2,000 points takes 0.3 MB in both encodings: the size bounds what a process can grow to.
        self._histories = Shared(self._read_history, fresh_s=10, stale_s=60, limiter=histories, size=32)
        # A month of rounds is much to read, and its past days change by a backfill only.
        self._past = Shared(self._read_past_days, fresh_s=900, stale_s=7200, limiter=histories)
        self._past_days: dict[str, PastDays] = {}
        self._networks = Shared(self._read_network, fresh_s=60, stale_s=600, limiter=netchecks)
        self._strips = Shared(self._read_strips, fresh_s=5, stale_s=10, limiter=store)
        self._alerts = Shared(partial(answers.alerts, parts), fresh_s=3, stale_s=6, limiter=database, size=8)
        self._forecasts = Shared(
            partial(answers.forecast, parts), fresh_s=30, stale_s=60, limiter=store, size=16
        )
        self._models = Shared(
            partial(answers.metrics_history, parts), fresh_s=5, stale_s=10, limiter=tracker, size=8
        )
        self._records = Shared(
            partial(answers.records, parts), fresh_s=5, stale_s=5, limiter=database, size=1
        )
        self._outbox = Shared(
            partial(answers.outbox_depth, parts), fresh_s=5, stale_s=5, limiter=database, size=1
        )
        self._missing = Shared(
            partial(answers.missing_rounds, parts), fresh_s=30, stale_s=120, limiter=store, size=1
        )
        self._connection_stats = Shared(
            partial(answers.connection_stats, parts), fresh_s=1, stale_s=1, limiter=pings
        )

    async def nodes(self, tailnet: Tailnet) -> SharedNodes:
        """The latest state of every node of a tailnet."""
        self._seen[tailnet.name] = await self._see(tailnet)
        return await self._nodes.get(tailnet)

    async def strips(self, tailnet: Tailnet) -> Payload:
        """The strip of every node of a tailnet."""
        self._seen[tailnet.name] = await self._see(tailnet)
        self._past_days[tailnet.name] = await self._past.get((tailnet, self._parts.clock().date()))
        return await self._strips.get(tailnet)

    async def network(self, tailnet: Tailnet) -> Payload:
        """The network around a tailnet's sidecar."""
        self._seen[tailnet.name] = await self._see(tailnet)
        return await self._networks.get(tailnet)

    async def fresh(self, tailnet: Tailnet) -> FreshRounds:
        """The rounds of the journal, at most about a minute old; never fails."""
        newest = [row.time for row in (await self._newest(tailnet)).values()]
        self._stored_until[tailnet.name] = max(newest, default=None)
        try:
            async with asyncio.timeout(FRESH_PATIENCE_S):
                return await self._fresh.get(tailnet)
        except TimeoutError:
            return self._reader.held(tailnet.name)

    async def live(self, tailnet: Tailnet) -> Live:
        """What tailscaled says, at most some seconds old; never fails."""
        try:
            async with asyncio.timeout(LIVE_PATIENCE_S):
                return await self._live.get(tailnet.name)
        except TimeoutError:
            return _silent(f"the sidecar has not answered within {LIVE_PATIENCE_S:g} s")

    async def history(self, key: HistoryKey) -> Payload:
        """The latency history of a known node."""
        known = {*key.tailnet.critical_nodes, *(await self._newest(key.tailnet))}
        if key.hostname not in known:
            raise NotFoundError(f"no node {shown(key.hostname)}, expected one of {', '.join(sorted(known))}")
        await self.fresh(key.tailnet)
        return await self._histories.get(key)

    async def alerts(self, hours: int, limit: int) -> Payload:
        """What fires, and the incidents of the last ``hours``."""
        return await self._alerts.get((hours, limit))

    async def model(self, model_name: str, limit: int) -> Payload:
        """The last rows of a model's metrics history."""
        return await self._models.get((model_name, limit))

    async def forecast(self, model_name: str, day: date | None) -> Payload:
        """A model's forecast of a delivery day, today's where none is named."""
        today = market_of(self._parts.settings).day_of(self._parts.clock())
        return await self._forecasts.get(answers.ForecastKey(model_name, day or today))

    async def records(self) -> Records:
        """What Dagster's records say of now and the last hour."""
        return await self._records.get(None)

    async def outbox(self) -> Depth:
        """What waits in the outbox."""
        return await self._outbox.get(None)

    async def missing(self) -> Mapping[str, Mapping[str, int]]:
        """How many rounds of the last day each node of each tailnet lacks."""
        return await self._missing.get(None)

    async def connection_stats(self, key: ProbeKey) -> ConnectionStatsAnswer:
        """The path to a node and its latency, from pings at most a second old."""
        return await self._connection_stats.get(key)

    async def _see(self, tailnet: Tailnet) -> Seen:
        live, fresh = await asyncio.gather(self.live(tailnet), self.fresh(tailnet))
        return Seen.of(live, await self._newest(tailnet), fresh)

    async def _newest(self, tailnet: Tailnet) -> Mapping[str, ConnectionRow]:
        return {**await self._older.get(tailnet.name), **await self._recent.get(tailnet.name)}

    def _read_nodes(self, tailnet: Tailnet) -> SharedNodes:
        parts, seen = self._parts, self._seen[tailnet.name]
        with available():
            answer = snapshot(parts.store, tailnet, seen, parts.clock())
        return SharedNodes(answer, Payload.of_model(answer))

    def _read_history(self, key: HistoryKey) -> Payload:
        parts = self._parts
        with available():
            answer = latency_history(
                parts.store,
                key.tailnet.name,
                key.hostname,
                hours=key.hours,
                points=key.points,
                now=parts.clock(),
                fresh=self._reader.held(key.tailnet.name),
            )
        return Payload.of_model(answer)

    def _read_fresh(self, tailnet: Tailnet) -> FreshRounds:
        return self._reader.read(tailnet, self._stored_until[tailnet.name])

    def _read_past_days(self, key: tuple[Tailnet, date]) -> PastDays:
        tailnet, _today = key
        store, now = self._parts.store, self._parts.clock()
        with available():
            step = read_recent(store, tailnet.name, self._reader.held(tailnet.name), now).step
            return past_days(store, tailnet.name, self._names(tailnet), now, step)

    def _read_strips(self, tailnet: Tailnet) -> Payload:
        store, now = self._parts.store, self._parts.clock()
        with available():
            recent = read_recent(store, tailnet.name, self._reader.held(tailnet.name), now)
            past = self._past_days[tailnet.name]
            answer = strips(store, tailnet.name, self._names(tailnet), past, recent)
        return Payload.of_model(answer)

    def _read_network(self, tailnet: Tailnet) -> Payload:
        parts, now = self._parts, self._parts.clock()
        codes = {str(number): code for number, code in self._reader.held(tailnet.name).regions.items()}
        home_code = self._seen[tailnet.name].live.home_region
        try:
            answer = live_network(parts.sidecars[tailnet.name], tailnet.name, codes, home_code, now)
        except SidecarError as error:
            with available():
                answer = stored_network(parts.store, tailnet.name, codes, str(error), now)
        return Payload.of_model(answer)

    def _names(self, tailnet: Tailnet) -> list[str]:
        """The nodes that have a strip: all but the sidecar's own."""
        seen = self._seen[tailnet.name]
        return [name for name in names_of(tailnet, seen.rows) if not seen.live.peer(name)[1]]


def _silent(detail: str) -> Live:
    return Live(PartState(ok=False, detail=detail), {}, peer_names({}))
