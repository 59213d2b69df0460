"""Which peer a name means.

What belongs here: finding a node by host name or DNS name among those of a status or of a journalled round.
What does not: fetching the status.

``HostName`` is what a machine calls itself and not unique; ``DNSName`` is unique and ends with a dot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

from tsobs_pipelines.tailnet.localapi import Peer
from tsobs_pipelines.tailnet.ping import clean


class PeerError(LookupError):
    """A name does not mean exactly one peer."""


class UnknownPeerError(PeerError):
    """No peer has this host name or DNS name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no peer of the tailnet is called {clean(name)!r}")
        self.name = name


class AmbiguousPeerError(PeerError):
    """Several peers have this host name; the text names their DNS names."""

    def __init__(self, name: str, dns_names: Iterable[str]) -> None:
        self.name = name
        self.dns_names = tuple(sorted(clean(dns_name) for dns_name in dns_names))
        shown = ", ".join(self.dns_names)
        super().__init__(f"{clean(name)!r} is the host name of several peers: use one of {shown}")


_Identity: TypeAlias = tuple[str, str, str]


class PeerNames:
    """The nodes of one status by their names; a node is its key there."""

    __slots__ = ("_by_alias", "_by_dns_name", "_by_host_name")

    def __init__(self, identities: Iterable[_Identity]) -> None:
        self._by_dns_name: dict[str, str] = {}
        self._by_host_name: dict[str, dict[str, str]] = {}
        self._by_alias: dict[str, str] = {}
        for key, host_name, full_name in identities:
            dns_name = full_name.rstrip(".").lower()
            if dns_name:
                self._by_dns_name[dns_name] = key
                self._by_alias[dns_name.partition(".")[0]] = key
            if host_name:
                self._by_host_name.setdefault(host_name.lower(), {})[dns_name or key] = key
            if key:
                self._by_alias.setdefault(key.lower(), key)

    def find(self, name: str) -> str:
        """The key of the one node called ``name``.

        A full DNS name comes first, then a host name, then the first label of a DNS name, then the key
        itself.

        Raises:
            AmbiguousPeerError: several nodes have this host name.
            UnknownPeerError: none is called so.
        """
        wanted = name.rstrip(".").lower()
        if (key := self._by_dns_name.get(wanted)) is not None:
            return key
        same = self._by_host_name.get(wanted, {})
        if len(same) > 1:
            raise AmbiguousPeerError(name, same)
        found = next(iter(same.values()), self._by_alias.get(wanted))
        if found is None:
            raise UnknownPeerError(name)
        return found


@lru_cache(maxsize=16)
def _names(identities: tuple[_Identity, ...]) -> PeerNames:
    return PeerNames(identities)


def peer_names(peers: Mapping[str, Peer]) -> PeerNames:
    """The names of these nodes; rounds in a row mostly have the same ones, so that the last are kept."""
    return _names(tuple([(key, peer.host_name, peer.dns_name) for key, peer in peers.items()]))
