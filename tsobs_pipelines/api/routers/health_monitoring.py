"""The routes about nodes: latest state, latency over time, live pings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from tsobs_pipelines.api.answers import ProbeKey
from tsobs_pipelines.api.errors import NotFoundError, documented, shown
from tsobs_pipelines.api.routers.access import POLLED, UNKEPT, InContext
from tsobs_pipelines.api.schemas import (
    ConnectionStatsAnswer,
    LatencyHistory,
    NetworkAnswer,
    NodesAnswer,
    StripsAnswer,
)
from tsobs_pipelines.api.series import MAX_HOURS, MAX_POINTS
from tsobs_pipelines.api.views import HistoryKey

router = APIRouter(prefix="/health-monitoring", tags=["nodes"])

LONGEST_NAME = 253
"""Characters of a DNS name (RFC 1035); no node has a longer one."""

Hostname = Annotated[str, Path(description="host name of the node, as `/health-monitoring/nodes` lists it")]


InTailnet = Annotated[
    str | None,
    Query(alias="tailnet", description="name of the tailnet; default: the first one"),
]


@router.get("/nodes", response_model=NodesAnswer, responses=documented(404, 422, 503))
async def nodes(request: Request, context: InContext, tailnet: InTailnet = None) -> Response:
    """Each node's newest round, its last 24 hours and, while the sidecar answers, its current status."""
    return (await context.views.nodes(context.tailnet(tailnet))).payload.response(request, POLLED)


@router.get("/strips", response_model=StripsAnswer, responses=documented(404, 422, 503))
async def strips(request: Request, context: InContext, tailnet: InTailnet = None) -> Response:
    """The last hour of each node round by round, and its last 30 UTC days day by day.

    The newest rounds are read from the sidecar's journal, before they are collected (`collected` is false).
    """
    return (await context.views.strips(context.tailnet(tailnet))).response(request, POLLED)


@router.get("/network", response_model=NetworkAnswer, responses=documented(404, 422, 503))
async def network(request: Request, context: InContext, tailnet: InTailnet = None) -> Response:
    """The result of tailscaled's netcheck: DERP regions, UDP, IPv6, kind of NAT, port mapping.

    At most about a minute old; the newest one that was collected while the sidecar does not answer.
    """
    return (await context.views.network(context.tailnet(tailnet))).response(request, POLLED)


@router.get("/latency-history/{hostname}", response_model=LatencyHistory, responses=documented(404, 422, 503))
async def latency_history(
    request: Request,
    context: InContext,
    hostname: Hostname,
    hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="how far back")] = 24,
    points: Annotated[int, Query(ge=10, le=MAX_POINTS, description="at most so many points")] = MAX_POINTS,
    tailnet: InTailnet = None,
) -> Response:
    """Latency of a node, oldest first, in at most 2,000 points.

    More rounds than that are put into buckets that keep the minimum and the maximum. A round without a pong
    has the latency null; where no round was taken there is no point. Up to 24 hours end with the rounds of
    the sidecar's journal that are not in the store yet (`collected` is false).
    """
    key = HistoryKey(context.tailnet(tailnet), _plausible(hostname), hours, points)
    return (await context.views.history(key)).response(request, POLLED)


@router.get(
    "/connection-stats/{hostname}",
    response_model=ConnectionStatsAnswer,
    responses=documented(404, 422, 503),
)
async def connection_stats(
    response: Response, context: InContext, hostname: Hostname, tailnet: InTailnet = None
) -> ConnectionStatsAnswer:
    """Ping a node now, through the sidecar, and report its path; takes seconds if it does not answer."""
    response.headers["Cache-Control"] = UNKEPT
    return await context.views.connection_stats(ProbeKey(context.tailnet(tailnet).name, _plausible(hostname)))


def _plausible(hostname: str) -> str:
    """The name, unless no node can have it.

    Raises:
        NotFoundError: it is too long, or has characters that nobody could see.
    """
    if len(hostname) > LONGEST_NAME or not hostname.isprintable():
        raise NotFoundError(f"no node {shown(hostname)}")
    return hostname
