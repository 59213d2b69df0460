"""Result of the pings to one node in one round: latencies and the path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tsobs_pipelines.tailnet.localapi import ApiPing
from tsobs_pipelines.tailnet.path import UNKNOWN, Path, classify, was_sent
from tsobs_pipelines.tailnet.ping import NoPong, Pong, clean, ping_result


class NodePings(NamedTuple):
    """Latencies in ms, the cold first one apart; ``sent`` leaves out pings that the daemon refused.

    ``refusal`` is what it said of the first one that it refused, ``expired`` that a key was the reason.
    """

    path: Path = UNKNOWN
    sent: int = 0
    cold_ms: float | None = None
    warm_ms: Sequence[float] = ()
    refusal: str = ""
    expired: bool = False

    @property
    def received(self) -> int:
        """How many pongs there were."""
        return len(self.warm_ms) + (self.cold_ms is not None)


def read_node_pings(pings: Sequence[ApiPing], online: bool | None) -> NodePings:  # noqa: FBT001 - an observation, no switch
    """Sum up a node's pings of one round; ``online`` as :func:`classify` takes it."""
    direct = _all_answered_directly(pings)
    if direct is not None:
        return direct
    results = [ping_result(ping) for ping in pings]
    pongs = sum(isinstance(result, Pong) for result in results)
    silent = [result for result in results if isinstance(result, NoPong)]
    # Beside pongs, an answer that can't be read was one to a ping that was sent.
    sent = pongs + sum(was_sent(result) or (pongs > 0 and result.reason == "unreadable") for result in silent)
    cold = results[0].latency_ms if results and isinstance(results[0], Pong) else None
    warm = [result.latency_ms for result in results[1:] if isinstance(result, Pong)]
    refusal = next((result.text for result in silent if not was_sent(result)), "")
    expired = any(result.reason == "key-expired" for result in silent)
    return NodePings(classify(results, online), sent, cold, warm, refusal, expired)


def _all_answered_directly(pings: Sequence[ApiPing]) -> NodePings | None:
    """The same in less time for the usual case, in which every ping was answered directly; else ``None``."""
    latencies = [ping.seconds * 1e3 for ping in pings if ping.seconds is not None and not ping.err]
    if len(latencies) < 2 or len(latencies) != len(pings):
        return None
    last = pings[-1]
    if not last.endpoint or last.peer_relay or last.region_id or last.is_local:
        return None
    return NodePings(
        Path("direct", endpoint=clean(last.endpoint)), len(latencies), latencies[0], latencies[1:]
    )
