"""A round of the sampler: what the daemon said of its peers, and how their pings went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from tsobs_pipelines.tailnet.localapi import ApiPing, Netcheck, Peer
from tsobs_pipelines.tailnet.peers import (
    AmbiguousPeerError,
    NotSampledError,
    PeerNames,
    UnknownPeerError,
    peer_names,
    plain_name,
)


class Unprobed(NamedTuple):
    """Why a sampled name has no verdict, or no whole one.

    ``reason`` is ``absent`` (no node of the tailnet has the name), ``ambiguous`` (several have: ``nodes`` are
    their DNS names, or addresses where they have none), ``self`` (the sidecar's own node), ``no-address``, or
    ``out-of-time`` (the round ended before all of its pings were taken).
    """

    reason: str
    nodes: tuple[str, ...] = ()


class Round(msgspec.Struct, frozen=True):
    """One round: what the daemon said of its peers and how their pings went.

    ``peers`` and ``pings`` are by the name that the sampler used. ``own`` is the sidecar's own node.
    ``error`` says why the round could not be taken. Of version 2 only: ``interval_s`` is the sampler's,
    ``took_s`` how long the round took, ``unprobed`` is by name, and ``every`` says that all peers were to be
    sampled.
    """

    v: int
    at: datetime
    daemon: str = ""
    state: str = ""
    error: str = ""
    own: Peer | None = None
    peers: Mapping[str, Peer] = {}
    pings: Mapping[str, Sequence[ApiPing]] = {}
    netcheck: Netcheck | None = None
    interval_s: int | None = None
    took_s: float | None = None
    every: bool = False
    unprobed: Mapping[str, Unprobed] = {}

    @property
    def taken(self) -> bool:
        """Whether the daemon was running and was asked."""
        return self.state == "Running" and not self.error

    def find(self, name: str) -> str:
        """The key in ``peers`` of the node called ``name``.

        Raises:
            AmbiguousPeerError: several nodes of the tailnet have this name.
            NotSampledError: the sampler was not told to sample a node of this name.
            UnknownPeerError: no node of the tailnet has this name.
        """
        key = _key_called(name, self.peers)
        if self.v == 1:
            return _find_in_version_1(peer_names(self.peers, self.own), name, key)
        asked = _key_called(name, self.unprobed)
        why = self.unprobed[asked] if asked is not None else None
        if why is not None and why.reason == "ambiguous":
            raise AmbiguousPeerError(name, why.nodes)
        if key is not None:
            return key
        if why is not None:
            raise UnknownPeerError(name)
        # A node that was asked for by two of its names is there twice.
        distinct = {peer.dns_name or key: (key, peer) for key, peer in self.peers.items()}
        names = peer_names(dict(distinct.values()), self.own)
        if self.every:
            return names.find(name)
        try:
            # What the other nodes of the tailnet call themselves is not known here.
            return names.find_by_unique_name(name)
        except UnknownPeerError:
            raise NotSampledError(name) from None


def _key_called(name: str, keys: Mapping[str, object]) -> str | None:
    if name in keys:
        return name
    wanted = plain_name(name)
    return next((key for key in keys if plain_name(key) == wanted), None)


def _find_in_version_1(names: PeerNames, name: str, key: str | None) -> str:
    try:
        return names.find(name)
    except UnknownPeerError:
        if key is None:
            raise
        return key
