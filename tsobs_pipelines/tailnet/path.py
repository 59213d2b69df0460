"""The path to a node, from the pings of one round.

The first ping after a pause is *cold*: it often travels over DERP while the direct path is being set up,
and it is slow. It is kept apart; the others are warm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from tsobs_pipelines.tailnet.ping import NoPong, PingResult, Pong

ConnectionType: TypeAlias = Literal["direct", "relay", "peer-relay", "unreachable", "offline", "unknown"]

NO_RELAY = "none"


class Path(NamedTuple):
    """Which way a node is reached; ``relay_node`` is a DERP region code, or ``none``."""

    connection_type: ConnectionType
    relay_node: str = NO_RELAY
    endpoint: str | None = None


UNKNOWN = Path("unknown")


def classify(
    results: Sequence[PingResult],
    online: bool | None,  # noqa: FBT001 - an observation, no switch
) -> Path:
    """The path that a burst shows; ``online`` is ``None`` when the control plane's view isn't known.

    In this order: a warm pong over UDP or a peer relay decides by the last such pong, a single DERP pong
    among them changes nothing; warm pongs over DERP alone are ``relay``; without a warm pong with a path, a
    cold one over UDP or a peer relay still shows that path, while a cold one over DERP shows nothing
    (``unknown``); no pong at all is ``unreachable`` or ``offline``, if a ping was really sent; an offline
    node need not be pinged.
    """
    derp: Pong | None = None
    for result in reversed(results[1:]):
        if isinstance(result, Pong):
            if result.via in {"direct", "peer-relay"}:
                return _path(result)
            if derp is None and result.via == "derp":
                derp = result
    if derp is not None:
        return _path(derp)
    cold = results[0] if results else None
    if isinstance(cold, Pong) and cold.via in {"direct", "peer-relay"}:
        return _path(cold)
    if any(isinstance(result, Pong) for result in results):
        return UNKNOWN
    answered_by_silence = any(isinstance(result, NoPong) and was_sent(result) for result in results)
    if online is False and (answered_by_silence or not results):
        return Path("offline")
    return Path("unreachable") if online and answered_by_silence else UNKNOWN


def was_sent(result: NoPong) -> bool:
    """Whether the daemon took the ping on: only then does silence say something about the peer."""
    return result.reason in {"no-reply", "key-expired"}


def _path(pong: Pong) -> Path:
    if pong.via == "derp":
        return Path("relay", pong.region or "unknown")
    return Path("direct" if pong.via == "direct" else "peer-relay", NO_RELAY, pong.endpoint)
