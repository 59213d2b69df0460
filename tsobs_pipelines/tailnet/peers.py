"""Which peer a name means, and what the status says about it.

What belongs here: finding a node by host name or DNS name in the (projected) ``tailscale status --json`` or
in a journalled round, and a typed view of one peer. What does not: fetching the status.

``HostName`` is what a machine calls itself and not unique; ``DNSName`` is unique and ends with a dot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from tsobs_pipelines.tailnet.ping import clean

NEVER: Final = "0001-01-01T00:00:00Z"
"""Go's zero time, which Tailscale writes for what has not happened."""

MAX_COUNTER: Final = 2**63 - 1
"""The largest value of Tailscale's byte counters, and of an integer field in either store."""


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
        self.dns_names = tuple(sorted(dns_names))
        shown = ", ".join(clean(dns_name) for dns_name in self.dns_names)
        super().__init__(f"{clean(name)!r} is the host name of several peers: use one of {shown}")


class Peer(NamedTuple):
    """What a status says about one node; byte counters are totals since the daemon knew the peer's key."""

    key: str
    host_name: str
    dns_name: str
    online: bool | None
    tx_bytes: int | None
    rx_bytes: int | None
    last_handshake: str | None


def read_peer(key: str, value: Mapping[str, object]) -> Peer:
    """A typed view of one peer's status; what has another type than Tailscale gives it is absent."""
    host_name, dns_name, online = value.get("HostName"), value.get("DNSName"), value.get("Online")
    handshake = value.get("LastHandshake")
    return Peer(
        key,
        host_name if isinstance(host_name, str) else "",
        dns_name.rstrip(".").lower() if isinstance(dns_name, str) else "",
        online if isinstance(online, bool) else None,
        _counter(value.get("TxBytes")),
        _counter(value.get("RxBytes")),
        clean(handshake) if isinstance(handshake, str) and handshake != NEVER else None,
    )


def _counter(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_COUNTER else None


def read_peers(values: Mapping[str, object]) -> list[Peer]:
    """A typed view of every peer of a status or of a round."""
    return [read_peer(key, value) for key, value in values.items() if isinstance(value, dict)]


class PeerIndex:
    """The nodes of one status by their names; built once, asked for many names."""

    __slots__ = ("_by_alias", "_by_dns_name", "_by_host_name")

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._by_dns_name: dict[str, Peer] = {}
        self._by_host_name: dict[str, dict[str, Peer]] = {}
        self._by_alias: dict[str, Peer] = {}
        for peer in peers:
            if peer.dns_name:
                self._by_dns_name[peer.dns_name] = peer
                self._by_alias[peer.dns_name.partition(".")[0]] = peer
            if peer.host_name:
                same = self._by_host_name.setdefault(peer.host_name.lower(), {})
                same[peer.dns_name or peer.key] = peer
            if peer.key:
                self._by_alias.setdefault(peer.key.lower(), peer)

    def find(self, name: str) -> Peer:
        """The one node called ``name``: by full DNS name, else host name, else the DNS name's first label.

        Raises:
            AmbiguousPeerError: several nodes have this host name.
            UnknownPeerError: none is called so.
        """
        wanted = name.rstrip(".").lower()
        if (peer := self._by_dns_name.get(wanted)) is not None:
            return peer
        same = self._by_host_name.get(wanted, {})
        if len(same) > 1:
            raise AmbiguousPeerError(name, same)
        found = next(iter(same.values()), self._by_alias.get(wanted))
        if found is None:
            raise UnknownPeerError(name)
        return found
