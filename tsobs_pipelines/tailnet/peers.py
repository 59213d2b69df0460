"""Resolves a name to a node of a tailnet.

The sidecar has the same rule (``by_name`` and ``meant`` in ``sidecar/tailnet.jq``); ``tests/data/names.json``
drives the tests of both.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from tsobs_pipelines.tailnet.localapi import Peer
from tsobs_pipelines.tailnet.ping import clean

OWN: Final = ""
"""The key of the sidecar's own node among those of a status, whose keys are never empty."""


LONGEST_DNS_NAME: Final = 253
_LISTED_CHARS: Final = 1000


class PeerError(LookupError):
    """A name does not mean exactly one node."""


class UnknownPeerError(PeerError):
    """No node of the tailnet has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no peer of the tailnet is called {clean(name)!r}")
        self.name = name


class NotSampledError(UnknownPeerError):
    """The sampler was not told to sample a node of this name."""


class AmbiguousPeerError(PeerError):
    """Several nodes have this name.

    ``dns_names`` are their DNS names, and the addresses of those that have none; the text names them.
    """

    def __init__(self, name: str, dns_names: Iterable[str]) -> None:
        self.name = name
        self.dns_names = tuple(sorted(clean(dns_name, LONGEST_DNS_NAME) for dns_name in dns_names))
        kind = (
            "use one of"
            if any(map(_is_dns_name, self.dns_names))
            else "they have no DNS names, so use one of"
        )
        names = listed(self.dns_names, _LISTED_CHARS)
        super().__init__(f"{clean(name)!r} is the name of several nodes: {kind} {names}")


def listed(names: Sequence[str], longest: int) -> str:
    """As many of the names as have room in so many characters, at least one, and how many more there are."""
    kept = next(
        (kept for kept in range(len(names), 1, -1) if sum(map(len, names[:kept])) + 2 * kept <= longest), 1
    )
    more = [f"and {len(names) - kept} more"] if len(names) > kept else []
    return ", ".join([*names[:kept], *more])


class _Identity(NamedTuple):
    key: str
    host_name: str
    dns_name: str
    addresses: Sequence[str]


_ADDRESS: Final = re.compile("[0-9a-fA-F.:]+")
_IPV6: Final = re.compile("[0-9a-f]*:[0-9a-f:]+")
_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

# The rank of each kind of name, the best first.
_EXACT, _MACHINE, _HOST, _SHARED_MACHINE, _SHARED_HOST = range(5)


class PeerNames:
    """The nodes of one status by their names; a node is its key there.

    In this order a name is an address or a full DNS name; the machine name, which is the first label of the
    DNS name, in the tailnet's own suffix; the host name that a machine gives itself; and the last two of
    nodes that are shared in from other tailnets. A machine that calls itself by its machine name, as others
    do, is one of several: after a reinstall it is the old one. A node without a DNS name counts to the own
    tailnet, and so do all of them while its suffix is not known.
    """

    __slots__ = ("_found", "_shown")

    def __init__(self, identities: Iterable[_Identity], own_suffix: str) -> None:
        self._found: dict[tuple[int, str], list[str]] = {}
        self._shown: dict[str, str] = {}
        for node in identities:
            for ranked in set(_ranked_names(node, own_suffix)):
                self._found.setdefault(ranked, []).append(node.key)
            self._shown[node.key] = _designation(node)

    def find(self, name: str) -> str:
        """The key of the one node called ``name``.

        Raises:
            AmbiguousPeerError: several nodes have this name.
            UnknownPeerError: none is called so.
        """
        return self._one_of(name, range(_SHARED_HOST + 1))

    def find_by_unique_name(self, name: str) -> str:
        """:meth:`find` by the names that no two nodes of a tailnet share: for a list that may lack some."""
        return self._one_of(name, (_EXACT, _MACHINE))

    def _one_of(self, name: str, ranks: Iterable[int]) -> str:
        wanted = asked_name(name)
        for rank in ranks if wanted else ():
            keys = self._found.get((rank, wanted), [])
            same = self._found.get((_HOST, wanted), [])
            if rank == _MACHINE and len(keys) == 1 and keys[0] in same:
                keys = same
            if len(keys) > 1:
                raise AmbiguousPeerError(name, (self._shown[key] for key in keys))
            if keys:
                return keys[0]
        raise UnknownPeerError(name)


def _ranked_names(node: _Identity, own_suffix: str) -> Iterator[tuple[int, str]]:
    dns_name = plain_name(node.dns_name)
    machine, _, suffix = dns_name.partition(".")
    is_own = not dns_name or own_suffix in {"", suffix}
    names = [
        (_EXACT, dns_name),
        *((_EXACT, _lower(address)) for address in node.addresses),
        (_MACHINE if is_own else _SHARED_MACHINE, machine),
        (_HOST if is_own else _SHARED_HOST, _lower(node.host_name)),
    ]
    return ((rank, name) for rank, name in names if name)


def _designation(node: _Identity) -> str:
    """What an error calls it: its DNS name, or the address of a node that has none."""
    addresses = filter(_ADDRESS.fullmatch, node.addresses)
    return plain_name(node.dns_name) or next(addresses, "a node without name and address")


def plain_name(dns_name: str) -> str:
    """The name as it is compared: in lower case, without the dot at the end."""
    return _lower(dns_name).removesuffix(".")


@lru_cache(maxsize=4096)
def asked_name(name: str) -> str:
    """A name that somebody asks for, as it is compared: an IPv6 address is as the daemon writes it."""
    plain = plain_name(name)
    if not _IPV6.fullmatch(plain):
        return plain
    try:
        return str(IPv6Address(plain))
    except ValueError:
        return plain


def _lower(name: str) -> str:
    """In lower case as DNS has it, in ASCII alone."""
    return name.translate(_ASCII_LOWER)


def _is_dns_name(shown: str) -> bool:
    return ":" not in shown and any(char.isalpha() for char in shown)


@lru_cache(maxsize=16)
def _names(identities: tuple[_Identity, ...], own_suffix: str) -> PeerNames:
    return PeerNames(identities, own_suffix)


def peer_names(peers: Mapping[str, Peer], own: Peer | None = None) -> PeerNames:
    """The names of these nodes; rounds in a row mostly have the same ones, so that the last are kept.

    ``own`` is the sidecar's own node, which says which DNS suffix the tailnet has; the one called :data:`OWN`
    among ``peers`` where it is not given.
    """
    here = own or peers.get(OWN)
    suffix = plain_name(here.dns_name).partition(".")[2] if here else ""
    identities = [
        _Identity(key, peer.host_name, peer.dns_name, tuple(peer.addresses)) for key, peer in peers.items()
    ]
    return _names(tuple(identities), suffix)
