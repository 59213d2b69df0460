"""A round of the sampler: what the daemon said of its peers, and how their pings went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

import msgspec

from tsobs_pipelines.tailnet.localapi import ApiPing, Netcheck, Peer
from tsobs_pipelines.tailnet.peers import (
    OWN,
    AmbiguousPeerError,
    NotSampledError,
    PeerError,
    PeerNames,
    UnknownPeerError,
    asked_name,
    peer_names,
)
from tsobs_pipelines.tailnet.ping import is_local


class Unprobed(NamedTuple):
    """Why a sampled name has no verdict, or no whole one.

    ``reason`` is ``absent`` (no node of the tailnet has the name), ``ambiguous`` (several have: ``nodes`` are
    their DNS names, or addresses where they have none), ``self`` (the sidecar's own node), ``no-address``,
    ``out-of-time`` (the round ended before all of its pings were taken), or one that a newer sidecar writes.
    """

    reason: str
    nodes: tuple[str, ...] = ()


class Round(msgspec.Struct, frozen=True, dict=True):
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
        """The key in ``peers`` of the node called ``name``; :data:`OWN` is the sidecar's own node.

        Raises:
            AmbiguousPeerError: several nodes of the tailnet have this name.
            NotSampledError: the sampler was not told to sample a node of this name.
            UnknownPeerError: no node of the tailnet has this name.
        """
        if not asked_name(name):
            raise UnknownPeerError(name)
        return self._find_in_version_1(name) if self.v == 1 else self._find_in_version_2(name)

    def is_own(self, name: str) -> bool:
        """Whether ``name`` means the sidecar's own node."""
        try:
            return self.find(name) == OWN
        except PeerError:
            return False

    def _find_in_version_2(self, name: str) -> str:
        asked = _key_called(name, self.unprobed)
        why = self.unprobed[asked] if asked is not None else None
        # The sampler knew the whole tailnet when it looked for the names that it was asked for.
        if why is not None and why.reason == "ambiguous":
            raise AmbiguousPeerError(name, why.nodes)
        if why is not None and why.reason == "self":
            return OWN
        if why is not None and why.reason == "absent":
            raise UnknownPeerError(name)
        key = _key_called(name, self.peers)
        if not self.every:
            return key if key is not None else self._find_sampled(name)
        # Here a key may also be a machine name that nobody asked for, and that several nodes have.
        try:
            return self._names.find(name) if self.taken else self._names.find_by_unique_name(name)
        except UnknownPeerError:
            if key is None:
                raise
            return key

    def _find_sampled(self, name: str) -> str:
        """Among nodes that were asked for by other names: what the rest call themselves is not known."""
        try:
            return self._names.find_by_unique_name(name)
        except UnknownPeerError:
            raise NotSampledError(name) from None

    def _find_in_version_1(self, name: str) -> str:
        pinged = _key_called(name, self.pings)
        if pinged is not None and any(map(is_local, self.pings[pinged][:1])):
            return OWN
        try:
            return peer_names(self.peers, self.own).find(name)
        except UnknownPeerError:
            key = _key_called(name, self.peers)
            if key is None:
                return peer_names(self._own_nodes).find(name)
            return key

    @property
    def _own_nodes(self) -> dict[str, Peer]:
        return {} if self.own is None else {OWN: self.own}

    @cached_property
    def _names(self) -> PeerNames:
        # A node that was asked for by two of its names is there twice.
        distinct = {
            peer.dns_name or peer.addresses or key: (key, peer) for key, peer in self.peers.items() if key
        }
        return peer_names({**dict(distinct.values()), **self._own_nodes})


def _key_called(name: str, keys: Mapping[str, object]) -> str | None:
    if name in keys:
        return name
    wanted = asked_name(name)
    return next((key for key in keys if asked_name(key) == wanted), None)
