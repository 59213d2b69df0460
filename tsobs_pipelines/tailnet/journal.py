"""Parses the sidecar's journal: a day's bytes become rounds, in the order of the file.

Two versions of the line are read; ``docs/TAILSCALE_LOGS.md`` has their members. Lines that can't
be read are skipped and counted by reason: a crash leaves a torn last line, a newer sidecar may write a later
version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from tsobs_pipelines.tailnet.localapi import (
    MALFORMED,
    ApiPing,
    Netcheck,
    Peer,
    Seconds,
    read_fields,
    read_ping,
)
from tsobs_pipelines.tailnet.peers import (
    AmbiguousPeerError,
    NotSampledError,
    PeerNames,
    UnknownPeerError,
    peer_names,
    plain_name,
)
from tsobs_pipelines.tailnet.ping import clean

VERSIONS: Final = (1, 2)
"""The versions of the line format that are read here."""

MAX_LINE: Final = 4 * 2**20
"""Bytes of the longest line that is read; a round of 500 nodes has about 0.3 MB in version 2."""

SkipReason: TypeAlias = Literal["torn", "malformed", "wrong-type", "version", "too-long", "other-day"]


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


@dataclass(slots=True)
class JournalCounts:
    """What was read of a journal so far: bytes, lines that are not blank, rounds, and what was left out."""

    lines: int = 0
    bytes: int = 0
    rounds: int = 0
    duplicates: int = 0
    skipped: Counter[SkipReason] = field(default_factory=Counter)

    @property
    def skipped_total(self) -> int:
        """How many lines could not be used."""
        return self.skipped.total()


class _SkippedLineError(ValueError):
    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason)
        self.reason: SkipReason = reason


def read_rounds(chunks: Iterable[bytes], counts: JournalCounts, day: date | None = None) -> Iterator[Round]:
    """The rounds in the bytes of a journal, in the file's order, one for each time (the first one wins).

    Memory is bounded by the longest line (:data:`MAX_LINE`) and a set of the times seen. ``counts`` is kept
    up to date while reading. With ``day`` a round of another UTC day is skipped, for a partition holds one
    day.
    """
    seen: set[datetime] = set()
    for line, complete in _lines(chunks, counts):
        if not line.strip():
            continue
        counts.lines += 1
        try:
            this = parse_round(line)
            if day is not None and this.at.date() != day:
                raise _SkippedLineError("other-day")
        except _SkippedLineError as skipped:
            counts.skipped["torn" if skipped.reason == "malformed" and not complete else skipped.reason] += 1
            continue
        if this.at in seen:
            counts.duplicates += 1
            continue
        seen.add(this.at)
        counts.rounds += 1
        yield this


def _lines(chunks: Iterable[bytes], counts: JournalCounts) -> Iterator[tuple[bytes, bool]]:
    """Each line with whether its end was seen; a line over the bound is counted and left out."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        counts.bytes += len(chunk)
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            size += len(part)
            if size > MAX_LINE:
                _count_too_long(counts)
            else:
                yield b"".join((*held, part)) if held else part, True
            held, size = [], 0
        size += len(rest)
        if size > MAX_LINE:
            held = []
        elif rest:
            held.append(rest)
    if size > MAX_LINE:
        _count_too_long(counts)
    elif held:
        yield b"".join(held), False


def _count_too_long(counts: JournalCounts) -> None:
    counts.lines += 1
    counts.skipped["too-long"] += 1


_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_Interval = Annotated[int, msgspec.Meta(ge=1, le=86400)]


class _Line(msgspec.Struct, frozen=True, tag_field="v"):
    at: _Time
    daemon: str = ""
    state: str = ""
    error: str = ""
    own: Peer | None = msgspec.field(name="self", default=None)
    netcheck: Netcheck | None = None


class _Line1(_Line, frozen=True, tag=1):
    peers: Mapping[str, Peer] = {}
    pings: Mapping[str, Sequence[ApiPing]] = {}

    def to_round(self) -> Round:
        return Round(
            v=1,
            at=self.at,
            daemon=self.daemon,
            state=self.state,
            error=self.error,
            own=self.own,
            netcheck=self.netcheck,
            peers=self.peers,
            pings=self.pings,
        )


class _Run(msgspec.Struct, frozen=True, gc=False):
    """Pings in a row that differ in their latency alone; ``times`` of those that failed."""

    err: str = msgspec.field(name="Err", default="")
    endpoint: str = msgspec.field(name="Endpoint", default="")
    peer_relay: str = msgspec.field(name="PeerRelay", default="")
    region_id: int = msgspec.field(name="DERPRegionID", default=0)
    region_code: str = msgspec.field(name="DERPRegionCode", default="")
    is_local: bool = msgspec.field(name="IsLocalIP", default=False)
    latencies: tuple[Seconds, ...] = msgspec.field(name="LatencySeconds", default=())
    times: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0

    def pings(self) -> Iterator[ApiPing]:
        """Each of them."""
        way = (self.endpoint, self.peer_relay, self.region_id, self.region_code, self.is_local)
        for seconds in self.latencies:
            yield ApiPing(self.err, seconds, *way)
        for _ in range(self.times):
            yield ApiPing(self.err, None, *way)


class _Node(Peer, frozen=True, gc=False):
    """A sampled name: what the status says of its node and how its pings went, or why there are none."""

    unprobed: str = ""
    nodes: tuple[str, ...] = ()
    runs: tuple[_Run, ...] | None = msgspec.field(name="pings", default=None)

    @property
    def is_listed(self) -> bool:
        """Whether it is one node of the tailnet."""
        return self.runs is not None or self.unprobed in {"no-address", "out-of-time"}


class _Timing(msgspec.Struct, frozen=True):
    interval: _Interval | None = None
    took: Seconds | None = None
    every: bool = False


class _Line2(_Line, frozen=True, tag=2):
    interval: _Interval | None = None
    took: Seconds | None = None
    every: bool = False
    nodes: Mapping[str, _Node] | None = None

    def to_round(self) -> Round:
        if self.nodes is None and self.state == "Running" and not self.error:
            message = "a round that was taken has no nodes"
            raise msgspec.ValidationError(message)
        nodes = self.nodes or {}
        known = {name: node for name, node in nodes.items() if node.is_listed}
        return Round(
            v=2,
            at=self.at,
            daemon=self.daemon,
            state=self.state,
            error=self.error,
            own=self.own,
            netcheck=self.netcheck,
            peers=known,
            pings={
                name: [ping for run in node.runs or () for ping in run.pings()]
                for name, node in known.items()
            },
            interval_s=self.interval,
            took_s=self.took,
            every=self.every,
            unprobed={
                name: Unprobed(clean(node.unprobed), node.nodes)
                for name, node in nodes.items()
                if node.unprobed
            },
        )


_decoder: Final[msgspec.json.Decoder[_Line1 | _Line2]] = msgspec.json.Decoder(_Line1 | _Line2)


def parse_round(line: bytes) -> Round:
    """One line as a round, its time in UTC; raises a ``ValueError`` that names the reason to skip it."""
    try:
        this = _decoder.decode(line).to_round()
    except msgspec.ValidationError:
        this = _lenient(line)
    except (ValueError, RecursionError):
        raise _SkippedLineError("malformed") from None
    if this.at.tzinfo is UTC:
        return this
    try:
        return msgspec.structs.replace(this, at=this.at.astimezone(UTC))
    except OverflowError:  # the year 0 or 10000 in UTC
        raise _SkippedLineError("wrong-type") from None


def _lenient(line: bytes) -> Round:
    """A round of which some part has another type than it should: what is about other nodes still counts."""
    try:
        value = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        raise _SkippedLineError("malformed") from None
    if not isinstance(value, dict) or type(value.get("v")) is not int:
        raise _SkippedLineError("wrong-type")
    if value["v"] not in VERSIONS:
        raise _SkippedLineError("version")
    try:
        return _lenient_round(value)
    except msgspec.ValidationError:
        raise _SkippedLineError("wrong-type") from None


def _lenient_round(value: Mapping[str, object]) -> Round:
    at: datetime = msgspec.convert(value.get("at"), _Time)
    daemon, state, error = (_text(value.get(name)) for name in ("daemon", "state", "error"))
    own = value.get("self")
    node = Peer(host_name=own) if isinstance(own, str) else _fields(own, Peer)
    netcheck = _fields(value.get("netcheck"), Netcheck)
    line: _Line1 | _Line2
    if value["v"] == 1:
        line = _Line1(at, daemon, state, error, node, netcheck, *_lenient_1(value))
    else:
        timing = read_fields(value, _Timing)
        line = _Line2(
            at,
            daemon,
            state,
            error,
            node,
            netcheck,
            interval=timing.interval,
            took=timing.took,
            every=timing.every,
            nodes=_lenient_2(value),
        )
    return line.to_round()


def _lenient_1(value: Mapping[str, object]) -> tuple[dict[str, Peer], dict[str, list[ApiPing]]]:
    peers = {
        name: read_fields(peer, Peer)
        for name, peer in _object(value.get("peers")).items()
        if isinstance(peer, dict)
    }
    pings = {
        name: [read_ping(item) for item in (given if isinstance(given, list) else [given])]
        for name, given in _object(value.get("pings")).items()
    }
    return peers, pings


def _lenient_2(value: Mapping[str, object]) -> dict[str, _Node] | None:
    if "nodes" not in value:
        return None
    nodes = _object(value["nodes"])
    return {name: _lenient_node(node) for name, node in nodes.items() if isinstance(node, dict)}


def _lenient_node(value: Mapping[str, object]) -> _Node:
    node = read_fields({name: part for name, part in value.items() if name != "pings"}, _Node)
    if "pings" not in value:
        return node
    given = value["pings"]
    runs = tuple(map(_lenient_run, given if isinstance(given, list) else [given]))
    return msgspec.structs.replace(node, runs=runs)


def _lenient_run(value: object) -> _Run:
    try:
        return msgspec.convert(value, _Run)
    except msgspec.ValidationError:
        return _Run(err=MALFORMED, times=1)


_Kind = TypeVar("_Kind", Peer, Netcheck)


def _fields(value: object, kind: type[_Kind]) -> _Kind | None:
    return read_fields(value, kind) if isinstance(value, dict) else None


def _text(value: object) -> str:
    return "" if value is None else clean(msgspec.convert(value, str))


def _object(value: object) -> dict[str, object]:
    return {} if value is None else msgspec.convert(value, dict[str, object])
