"""The HTTP client of the sidecar: live status and the journal.

A failed read is never an empty result: every method returns an answer, or raises one of the errors of
``errors.py`` and ``peers.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, NamedTuple, Self, TypedDict
from urllib.parse import quote

import httpx

from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.tailnet.errors import SidecarError, SidecarRefusedError, SidecarUnavailableError
from tsobs_pipelines.tailnet.localapi import NEVER, Peer, read_fields
from tsobs_pipelines.tailnet.path import NO_RELAY, UNKNOWN, classify
from tsobs_pipelines.tailnet.path import Path as TailnetPath
from tsobs_pipelines.tailnet.peers import OWN, AmbiguousPeerError, UnknownPeerError, peer_names
from tsobs_pipelines.tailnet.ping import (
    NoPong,
    PingResult,
    PingStats,
    clean,
    parse_ping_results,
    parse_ping_text,
    ping_stats,
)
from tsobs_pipelines.tailnet.transport import Request, SidecarTransport

log = logging.getLogger(__name__)

__all__ = [
    "AmbiguousPeerError",
    "ConnectionStats",
    "DayIndex",
    "SidecarError",
    "SidecarRefusedError",
    "SidecarUnavailableError",
    "TailscaleHealthService",
    "UnknownPeerError",
]

# Each deadline is above the worst case of the route in the sidecar: five text pings take 5 x (2 s + 1 s), a
# netcheck about 4 s and up to its own time-out, /debug listens for 5 s.
STATUS_DEADLINE_S: Final = 15.0
PING_DEADLINE_S: Final = 30.0
NETCHECK_DEADLINE_S: Final = 30.0
DEBUG_DEADLINE_S: Final = 25.0
JOURNAL_DEADLINE_S: Final = 120.0

_FIRST_YEAR: Final = 2000
_LAST_YEAR: Final = 2999
"""Of a journal's days: what lies beyond makes times that no store holds."""
_MOST: Final = 2**40
_SHOWN: Final = 40

PINGS_A_BURST: Final = 5
MAX_PINGS: Final = 50


class ConnectionStats(TypedDict):
    """How a node is reached now; ``connection_type`` is also ``self`` for the sidecar's own node."""

    hostname: str
    connection_type: str
    relay_node: str
    tx_bytes: int | None
    rx_bytes: int | None
    last_handshake: str | None
    endpoint: str | None


@dataclass(frozen=True, slots=True)
class DayIndex:
    """One day of the journal: its lines and their bytes."""

    rounds: int
    bytes: int


@dataclass(frozen=True, slots=True)
class WhoIs:
    """Whose address it is."""

    node: str
    login: str
    display_name: str


@dataclass(frozen=True, slots=True)
class SidecarHealth:
    """Whether the daemon is running and the sampler alive; ``demo`` marks a simulated tailnet."""

    ok: bool
    demo: bool
    details: Mapping[str, object]


class _Node(NamedTuple):
    """A node of a status: what it says, how to ask for it, and whether it is the sidecar's own."""

    peer: Peer
    address: str
    is_own: bool


class TailscaleHealthService:
    """What the sidecar knows. One instance holds a pool of connections, and may be used by several threads.

    Every method raises :class:`SidecarUnavailableError` when there is no answer, a broken one or a 5xx, and
    :class:`SidecarRefusedError` for a 4xx.
    """

    def __init__(
        self,
        sidecar_url: SecretUrl | str,
        token_file: Path | None = None,
        critical_nodes: tuple[str, ...] = ("git", "chocolate-factory-dev", "chocolate-factory"),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.CRITICAL_NODES = critical_nodes
        self._sidecar = SidecarTransport(sidecar_url, token_file, transport)
        self._refused_days: list[str] = []

    def close(self) -> None:
        """Give the connections back; the instance can't be used afterwards."""
        self._sidecar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def healthz(self) -> SidecarHealth:
        """The sidecar's own health; not being well is an answer, not an error."""
        status, body = self._sidecar.checked_json(Request("/healthz", STATUS_DEADLINE_S), also=503)
        return SidecarHealth(status == 200 and body.get("ok") is True, body.get("demo") is True, body)

    def get_tailscale_status(self) -> dict[str, object]:
        """The projected ``tailscale status --json``: ``BackendState``, ``Version``, ``Self``, ``Peer``."""
        return self._sidecar.json_object(Request("/status", STATUS_DEADLINE_S))

    def get_network_diagnostics(self) -> dict[str, object]:
        """The JSON of ``tailscale netcheck``; latencies of regions in nanoseconds."""
        return self._sidecar.json_object(Request("/netcheck", NETCHECK_DEADLINE_S))

    def debug_peer(self, hostname: str) -> dict[str, object]:
        """A peer's status, its recent endpoint changes and events of the daemon, within about 5 s.

        Raises:
            UnknownPeerError, AmbiguousPeerError: the name does not mean exactly one peer.
        """
        path = f"/debug/{quote(self._find(hostname).address, safe='', errors='replace')}"
        return self._sidecar.json_object(Request(path, DEBUG_DEADLINE_S))

    def ping_peer(self, hostname: str, count: int = PINGS_A_BURST) -> PingStats:
        """Ping a peer now: least, greatest and mean latency in ms (``None`` without a pong), number of pongs.

        Args:
            hostname: host name or DNS name.
            count: pings to send, 1 to 50; the cold first one counts like the others.

        Raises:
            UnknownPeerError, AmbiguousPeerError: the name does not mean exactly one peer.
            ValueError: ``count`` is out of range.
        """
        if not 1 <= count <= MAX_PINGS:
            msg = f"count={count}, expected 1 to {MAX_PINGS}"
            raise ValueError(msg)
        node = self._find(hostname)
        results: list[PingResult] = []
        while not node.is_own and len(results) < count:
            results += self._burst(node.address, hostname)
        return ping_stats(results[:count])

    def get_connection_stats(self, hostname: str) -> ConnectionStats:
        """How a peer is reached now, as pings show it: the status alone calls an idle peer relayed.

        Raises:
            UnknownPeerError, AmbiguousPeerError: the name does not mean exactly one peer.
        """
        return self.observe_peer(hostname)[0]

    def observe_peer(self, hostname: str) -> tuple[ConnectionStats, PingStats]:
        """:meth:`get_connection_stats` and :meth:`ping_peer` from one burst of pings; see there."""
        node = self._find(hostname)
        results = [] if node.is_own else self._burst(node.address, hostname)
        is_own = node.is_own or any(
            isinstance(result, NoPong) and result.reason == "local" for result in results
        )
        path = UNKNOWN if is_own else classify(results, node.peer.online)
        return _stats(hostname, node.peer, path, is_own), ping_stats(results)

    def whois(self, ip: str) -> WhoIs | None:
        """Who uses the address; ``None`` when no node of the tailnet has it."""
        try:
            body = self._sidecar.json_object(Request(f"/whois/{quote(ip, safe=':')}", STATUS_DEADLINE_S))
        except SidecarRefusedError as error:
            if error.status == 404:
                return None
            raise
        node, user = body.get("Node"), body.get("UserProfile")
        node, user = (part if isinstance(part, dict) else body for part in (node, user))
        names = [node.get("Name", node.get("node")), user.get("LoginName"), user.get("DisplayName")]
        shown = [name if isinstance(name, str) else "" for name in names]
        return WhoIs(shown[0].rstrip("."), shown[1], shown[2])

    def samples_index(self) -> dict[date, DayIndex]:
        """The days of the journal with their lines and bytes, oldest first.

        A day whose entry makes no sense is left out, and named in the log: the others are collected. When
        there is no other, that is an error.
        """
        request = Request("/samples", STATUS_DEADLINE_S)
        days = self._sidecar.json_object(request).get("days")
        if not isinstance(days, dict):
            raise SidecarUnavailableError(self._sidecar.shown("/samples"), "the index has no days", 200)
        index: dict[date, DayIndex] = {}
        refused: list[str] = []
        for day, entry in sorted(days.items()):
            try:
                index[_day_of(day)] = _day_index(entry)
            except (TypeError, ValueError, KeyError):
                refused.append(clean(day)[:_SHOWN])
        if refused and not index:
            reason = f"the index has no day that makes sense: {', '.join(refused[:10])}"
            raise SidecarUnavailableError(self._sidecar.shown("/samples"), reason, 200)
        if refused != self._refused_days:
            self._refused_days = refused
            if refused:
                log.warning("the journal's index has days that make no sense: %s", ", ".join(refused[:10]))
        return index

    def samples(self, day: date, after: datetime | None = None) -> Iterator[bytes]:
        """The NDJSON of a day's rounds as chunks of bytes, those later than ``after`` only.

        Empty when the journal has no such day. An answer that is cut short raises
        :class:`SidecarUnavailableError` at its end: what was read until then is not the day.
        """
        query = {} if after is None else {"after": _rfc3339(after)}
        try:
            with self._sidecar.open(Request(f"/samples/{day}", JOURNAL_DEADLINE_S, query, "gzip")) as chunks:
                yield from chunks
        except SidecarRefusedError as error:
            if error.status != 404:
                raise

    def _find(self, hostname: str) -> _Node:
        """The node of this name."""
        status = self.get_tailscale_status()
        state = status.get("BackendState")
        if isinstance(state, str) and state != "Running":
            # Its list of peers may be empty then, which says nothing about the tailnet.
            url = self._sidecar.shown("/status")
            raise SidecarUnavailableError(url, f"tailscaled is not running ({clean(state)})", 200)
        own, peers = status.get("Self"), status.get("Peer")
        parts = {OWN: own, **(peers if isinstance(peers, dict) else {})}
        nodes = {key: node for key, node in parts.items() if isinstance(node, dict)}
        known = {key: read_fields(node, Peer) for key, node in nodes.items()}
        key = peer_names(known).find(hostname)
        return _Node(known[key], _address_of(nodes[key], known[key], hostname), key == OWN)

    def _burst(self, address: str, hostname: str) -> list[PingResult]:
        """One burst of five pings: with microseconds from the LocalAPI, else the text of the command."""
        path = f"/ping/{quote(address, safe='', errors='replace')}"
        try:
            value = self._sidecar.json_value(Request(path, PING_DEADLINE_S, {"format": "json"}))
            results = parse_ping_results(value)
        except SidecarRefusedError as error:
            if error.status == 404:
                raise UnknownPeerError(hostname) from None
            if error.status != 400:
                raise
            results = parse_ping_text(self._sidecar.text(Request(path, PING_DEADLINE_S)))
        return results or parse_ping_results(None)


def _stats(hostname: str, peer: Peer, path: TailnetPath, is_own: bool) -> ConnectionStats:  # noqa: FBT001
    relayed = path.relay_node != NO_RELAY
    return {
        "hostname": hostname,
        "connection_type": "self" if is_own else path.connection_type,
        "relay_node": path.relay_node,
        "tx_bytes": peer.tx_bytes,
        "rx_bytes": peer.rx_bytes,
        "last_handshake": None if peer.last_handshake in {None, NEVER} else clean(peer.last_handshake),
        "endpoint": f"DERP({path.relay_node})" if relayed else path.endpoint,
    }


def _address_of(node: Mapping[str, object], peer: Peer, hostname: str) -> str:
    """Its first address, by which the sidecar finds it fastest, or else the best of its names."""
    addresses = node.get("TailscaleIPs")
    first = addresses[0] if isinstance(addresses, list) and addresses else None
    if isinstance(first, str) and first:
        return first
    return peer.dns_name.rstrip(".") or peer.host_name or hostname


def _day_of(text: str) -> date:
    day = date.fromisoformat(text)
    if day.isoformat() != text or not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(text)
    return day


def _day_index(entry: Mapping[str, object]) -> DayIndex:
    rounds, size = entry["rounds"], entry["bytes"]
    if not (isinstance(rounds, int) and isinstance(size, int)) or isinstance(rounds, bool):
        raise TypeError(rounds)
    if not (0 <= rounds <= _MOST and 0 <= size <= _MOST):
        raise ValueError(rounds)
    return DayIndex(rounds, size)


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
