"""When the keys of nodes expire, as rows of ``KEYS``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tsobs_pipelines.tailnet.localapi import Peer, expiry_of
from tsobs_pipelines.tailnet.peers import PeerError
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
    if newest.own is not None and (own := clean(_own_name(newest.own, nodes))):
        found[own] = _row(newest, tailnet, own, newest.own, own=1)
    for node in nodes:
        try:
            found.setdefault(node, _row(newest, tailnet, node, newest.peers[newest.find(node)], own=0))
        except PeerError:
            continue
    return list(found.values())


def _own_name(own: Peer, nodes: Sequence[str]) -> str:
    """As it is called among ``nodes``, else its machine name."""
    dns_name = own.dns_name.rstrip(".")
    label = dns_name.partition(".")[0] or own.host_name
    known = {dns_name.lower(), label.lower()}
    return next((node for node in nodes if node.rstrip(".").lower() in known), label)


def _row(newest: Round, tailnet: str, hostname: str, peer: Peer, *, own: int) -> KeyRow:
    at, expiry = newest.at, expiry_of(peer)
    return KeyRow(
        time=datetime(at.year, at.month, at.day, tzinfo=UTC),
        tailnet=tailnet,
        hostname=hostname,
        expires_at=None if expiry is None else int(expiry.timestamp()),
        expired=int(bool(peer.expired) or (expiry is not None and expiry <= at)),
        own=own,
    )
