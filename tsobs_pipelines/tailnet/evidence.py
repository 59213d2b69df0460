"""Evidence about one node in one round, including rounds without a path."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from tsobs_pipelines.tailnet.localapi import Peer, key_expired, said_expired
from tsobs_pipelines.tailnet.node_pings import NodePings, read_node_pings
from tsobs_pipelines.tailnet.peers import (
    OWN,
    AmbiguousPeerError,
    NotSampledError,
    UnknownPeerError,
    listed,
)
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.timeseries.evidence import Evidence

_REASON_CHARS: Final = 240
_UNPROBED: Final[Mapping[str, str]] = {
    "no-address": "it has no address in the tailnet",
    "out-of-time": "the round ended before it was pinged",
}
_NO_PEER: Final = Peer()
_NO_PINGS: Final = NodePings()


class Observation(NamedTuple):
    """What a round says about one node.

    ``evidence`` is ``None`` where the path says it all, ``reason`` the words for a person. ``answered`` is
    ``None`` only in a round that was not taken. ``namesakes`` are the nodes of an ambiguous name, by DNS name
    or address.
    """

    peer: Peer = _NO_PEER
    pings: NodePings = _NO_PINGS
    evidence: Evidence | None = None
    reason: str = ""
    answered: int | None = 0
    namesakes: tuple[str, ...] = ()


def not_taken(this: Round) -> Observation:
    """What a round that could not be taken says about any node: why it could not."""
    reason = this.error or f"tailscaled is not running: {this.state or 'no state'}"
    return Observation(evidence="not-taken", reason=_short(reason), answered=None)


def observe(this: Round, node: str) -> Observation | None:
    """What a round that was taken says about the node of this name; ``None`` of the sidecar's own node."""
    try:
        key = this.find(node)
    except AmbiguousPeerError as error:
        names = error.dns_names
        return Observation(evidence="ambiguous", reason=listed(names, _REASON_CHARS), namesakes=names)
    except NotSampledError:
        return Observation(evidence="not-sampled")
    except UnknownPeerError:
        return Observation(evidence="absent")
    return None if key == OWN else _observe_peer(this, key)


def _observe_peer(this: Round, key: str) -> Observation:
    peer = this.peers[key]
    pings = read_node_pings(this.pings.get(key, ()), peer.online)
    if pings.path.connection_type in {"direct", "relay", "peer-relay"}:
        return Observation(peer, pings, answered=1)
    if pings.received:
        return Observation(peer, pings, "no-path", answered=1)
    unprobed = this.unprobed[key].reason if key in this.unprobed else ""
    return Observation(peer, pings, *_silence(this.at, peer, pings, _UNPROBED.get(unprobed, unprobed)))


def _silence(at: datetime, peer: Peer, pings: NodePings, unprobed: str) -> tuple[Evidence | None, str]:
    """Why a node that is listed gave no pong; ``unprobed`` is what the sampler says about it."""
    if pings.expired or key_expired(peer, at):
        return "key-expired", said_expired(peer, at)
    if pings.path.connection_type != "unknown":
        return None, ""
    if pings.sent:
        return "no-answer", ""
    return "not-probed", _short(unprobed or pings.refusal or "no ping was sent")


def _short(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:_REASON_CHARS]
