"""The health check of each part, for ``/healthz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeAlias

from tsobs_pipelines.api.dependencies import Parts, Sidecar
from tsobs_pipelines.api.nodes import KNOWN_FOR
from tsobs_pipelines.api.schemas import PartState
from tsobs_pipelines.api.self_checks import (
    Moment,
    all_well,
    both,
    judge_daemon,
    judge_outbox,
    judge_rounds,
    judge_ticks,
)
from tsobs_pipelines.database import DatabaseError
from tsobs_pipelines.run_tags import TICK_SCHEDULE
from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.timeseries.sampling import sampling_at
from tsobs_pipelines.timeseries.schema import COLLECTIONS, CONNECTIONS
from tsobs_pipelines.timeseries.store import StoreError, Window

Check: TypeAlias = Callable[[Parts, Moment], PartState]


def asked(check: Check, parts: Parts, moment: Moment) -> PartState:
    """The result of a check; a part that can't be queried is unhealthy."""
    try:
        return check(parts, moment)
    except (StoreError, DatabaseError, SidecarError) as error:
        return PartState(ok=False, detail=str(error))


def _store(parts: Parts, moment: Moment) -> PartState:
    _ = moment
    return PartState(ok=True, detail=parts.store.ping())


def _sidecar(parts: Parts, moment: Moment) -> PartState:
    _ = moment
    return all_well({name: _sidecar_state(sidecar) for name, sidecar in parts.sidecars.items()})


def _sidecar_state(sidecar: Sidecar) -> PartState:
    try:
        health = sidecar.healthz()
    except SidecarError as error:
        return PartState(ok=False, detail=str(error))
    kind = "demo tailnet" if health.demo else "sidecar"
    return PartState(ok=health.ok, detail=kind if health.ok else f"{kind}: {_why(health.details)}")


def _alerts(parts: Parts, moment: Moment) -> PartState:
    _ = moment
    return PartState(ok=True, detail=f"{len(parts.incidents.firing())} firing")


def _daemon(parts: Parts, moment: Moment) -> PartState:
    return judge_daemon(parts.dagster.heartbeats(), moment)


def _schedule(parts: Parts, moment: Moment) -> PartState:
    last_tick = parts.dagster.last_success(TICK_SCHEDULE)
    names = [one.name for one in parts.settings.tailnets]
    rounds = {name: _rounds_of(name, parts, moment, ticked=last_tick is not None) for name in names}
    return both(judge_ticks(last_tick, moment), all_well(rounds))


def _rounds_of(tailnet: str, parts: Parts, moment: Moment, *, ticked: bool) -> PartState:
    where = {"tailnet": tailnet}
    try:
        # Cheap reads first: the last minutes; the accounts of whole days only if those hold no round.
        stale_after = sampling_at(parts.store, tailnet, moment.now).stale_after
        recent = Window(moment.now - stale_after, moment.now + timedelta(minutes=1))
        rows = parts.store.read(CONNECTIONS, recent, where)
        days = Window.trailing(moment.now, KNOWN_FOR)
        # Before the first tick the store has only the first filling, whose newest round is minutes old.
        ever = bool(rows) or (ticked and bool(parts.store.latest(COLLECTIONS, days, where)))
    except StoreError:
        # This is a fault of the store, whose check reports it.
        return PartState(ok=True, detail="rounds not known, the store can't be read")
    return judge_rounds(rows, moment, stale_after, ever=ever)


def _outbox(parts: Parts, moment: Moment) -> PartState:
    return judge_outbox(parts.outbox(), moment)


def _why(details: object) -> str:
    reason = details.get("error") if isinstance(details, dict) else None
    return reason if isinstance(reason, str) else "the daemon is not running, or the sampler is not alive"


OWN_CHECKS: Mapping[str, Check] = {
    "alerts": _alerts,
    "daemon": _daemon,
    "schedule": _schedule,
    "outbox": _outbox,
}
CHECKS: Mapping[str, Check] = {"store": _store, "sidecar": _sidecar, **OWN_CHECKS}
"""Every check by the part that it names; the own ones are what ``/metrics`` does not learn otherwise."""
