"""The routes about tsobs itself: health, metrics, and general information for the page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response

from tsobs_pipelines.api.checks import CHECKS, OWN_CHECKS, Check, asked
from tsobs_pipelines.api.errors import UnavailableError, documented
from tsobs_pipelines.api.metrics import CONTENT_TYPE
from tsobs_pipelines.api.routers.access import UNKEPT, Context, InContext
from tsobs_pipelines.api.schemas import About, Health, PartState
from tsobs_pipelines.api.self_checks import Moment
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL

router = APIRouter(tags=["system"])

PATIENCE_S = 5.0
"""How long a part may take to answer before it counts as down."""

_Value = TypeVar("_Value")
_threads = CapacityLimiter(8)


@router.get(
    "/healthz",
    response_model=Health,
    responses={**documented(), 503: {"model": Health, "description": "A part is unhealthy"}},
)
async def healthz(response: Response, context: InContext) -> Health:
    """The health of each part; 503 if one is unhealthy."""
    states = await _states(context, CHECKS)
    health = Health(ok=all(state.ok for state in states.values()), parts=states)
    response.status_code = 200 if health.ok else 503
    response.headers["Cache-Control"] = UNKEPT
    return health


@router.get(
    "/metrics",
    response_class=Response,
    responses={**documented(), 200: {"content": {"text/plain": {}}, "description": "Prometheus text"}},
)
async def metrics(context: InContext) -> Response:
    """Prometheus metrics: requests, the process, the newest round of every node, and tsobs itself."""
    views, own, now = context.views, context.metrics.own, context.parts.clock()
    tailnets = context.parts.settings.tailnets
    try:
        context.metrics.set_nodes([(await views.nodes(tailnet)).answer for tailnet in tailnets])
        context.metrics.set_part("store", 1)
    except UnavailableError:
        context.metrics.set_part("store", 0)
    alive = [(await views.live(tailnet)).state.ok for tailnet in tailnets]
    context.metrics.set_part("sidecar", int(all(alive)))
    records, outbox, missing, _ = await asyncio.gather(
        _or_none(views.records()),
        _or_none(views.outbox()),
        _or_none(views.missing()),
        _states(context, OWN_CHECKS),
    )
    own.set_records(records, now)
    own.set_outbox(outbox, now)
    own.set_missing(missing)
    return Response(context.metrics.text(), media_type=CONTENT_TYPE, headers={"Cache-Control": UNKEPT})


@router.get("/about", responses=documented())
async def about(request: Request, response: Response, context: InContext) -> About:
    """What is watched, which of it is simulated, and which user is asking."""
    settings = context.parts.settings
    response.headers["Cache-Control"] = UNKEPT
    return About(
        version=_version(),
        tailnet=settings.first_tailnet.name,
        tailnets=[tailnet.name for tailnet in settings.tailnets],
        demo_tailnet=settings.first_tailnet.demo,
        demo_prices=settings.demo_prices,
        dagster_url=settings.dagster_url,
        model_name=DEFAULT_MODEL,
        user=request.scope.get("state", {}).get("user"),
    )


async def _or_none(read: Awaitable[_Value]) -> _Value | None:
    """What is read, or ``None`` when the part is down or takes too long: the scrape tells the rest."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await read
    except (UnavailableError, TimeoutError):
        return None


async def _states(context: Context, checks: Mapping[str, Check]) -> dict[str, PartState]:
    """What these checks say, which the metrics take over."""
    states = await asyncio.gather(*(_in_time(check, context) for check in checks.values()))
    for name, state in zip(checks, states, strict=True):
        context.metrics.set_part(name, int(state.ok))
    return dict(zip(checks, states, strict=True))


async def _in_time(check: Check, context: Context) -> PartState:
    moment = Moment(context.parts.clock(), context.begun_at)
    waiting: Awaitable[PartState] = to_thread.run_sync(
        asked, check, context.parts, moment, limiter=_threads, abandon_on_cancel=True
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await waiting
    except TimeoutError:
        return PartState(ok=False, detail=f"no answer within {PATIENCE_S:g} s")


def _version() -> str:
    try:
        return version("tsobs")
    except PackageNotFoundError:
        return "unknown"
