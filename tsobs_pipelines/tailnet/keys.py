"""When the keys of nodes expire, as rows of ``KEYS``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tsobs_pipelines.tailnet.localapi import Peer, expiry_of, key_expired
from tsobs_pipelines.tailnet.peers import OWN, PeerError, plain_name
from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.timeseries.schema import KeyRow


def key_rows(newest: Round | None, nodes: Sequence[str], tailnet: str) -> list[KeyRow]:
    """A row for each of ``nodes`` that the round knows, and one for the sidecar's own node.

    ``newest`` is the day's newest round that was taken; a row's time is the start of its UTC day.
    """
    if newest is None:
        return []
    found: dict[str, KeyRow] = {}
    if newest.own is not None and (own := clean(_own_name(newest, newest.own, nodes))):
        found[own] = _row(newest, tailnet, own, newest.own, own=1)
    for node in nodes:
        try:
            key = newest.find(node)
        except PeerError:
            continue
        if key != OWN:
            found[node] = _row(newest, tailnet, node, newest.peers[key], own=0)
    return list(found.values())


def _own_name(newest: Round, own: Peer, nodes: Sequence[str]) -> str:
    """As it is called among ``nodes``, else its machine name, or its DNS name if that is another node's."""
    dns_name = plain_name(own.dns_name)
    label = dns_name.partition(".")[0] or own.host_name
    asked = next((node for node in nodes if newest.is_own(node)), label)
    return asked if newest.is_own(asked) or plain_name(asked) not in map(plain_name, nodes) else dns_name


def _row(newest: Round, tailnet: str, hostname: str, peer: Peer, *, own: int) -> KeyRow:
    at, expiry = newest.at, expiry_of(peer)
    return KeyRow(
        time=datetime(at.year, at.month, at.day, tzinfo=UTC),
        tailnet=tailnet,
        hostname=hostname,
        expires_at=None if expiry is None else int(expiry.timestamp()),
        expired=int(key_expired(peer, at)),
        own=own,
    )
