"""Parses a line of the sidecar's journal, which is a round as JSON.

Two versions of the line are read; ``docs/TAILSCALE_LOGS.md`` has their members. A part of the wrong type is
left out, and the rest of the round is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import structs

from tsobs_pipelines.tailnet.localapi import (
    LONGEST_PING_S,
    MALFORMED,
    ApiPing,
    Netcheck,
    Peer,
    Seconds,
    read_fields,
    read_ping,
)
from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.tailnet.rounds import Round, Unprobed

VERSIONS: Final = (1, 2)
"""The versions of the line format that are read here."""

SkipReason: TypeAlias = Literal["torn", "malformed", "wrong-type", "version", "too-long", "other-day"]


class SkippedLineError(ValueError):
    """A line that holds no round; ``reason`` says why."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason)
        self.reason: SkipReason = reason


_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_Interval = Annotated[int, msgspec.Meta(ge=1, le=86400)]


class _Line(msgspec.Struct, frozen=True, tag_field="v"):
    at: _Time
    daemon: str = ""
    state: str = ""
    error: str = ""
    own: Peer | None = msgspec.field(name="self", default=None)
    netcheck: Netcheck | None = None

    def _round(self, version: int) -> Round:
        """What both versions say of a round."""
        return Round(version, self.at, self.daemon, self.state, self.error, self.own, netcheck=self.netcheck)


class _Line1(_Line, frozen=True, tag=1):
    peers: Mapping[str, Peer] = {}
    pings: Mapping[str, Sequence[ApiPing]] = {}

    def to_round(self) -> Round:
        return structs.replace(self._round(1), peers=self.peers, pings=self.pings)


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


_WAY: Final = frozenset({"Err", "Endpoint", "PeerRelay", "DERPRegionID", "DERPRegionCode", "IsLocalIP"})


class _Node(Peer, frozen=True, gc=False):
    """A sampled name: what the status says of its node and how its pings went, or why there are none."""

    unprobed: str = ""
    nodes: tuple[str, ...] = ()
    runs: tuple[_Run, ...] | None = msgspec.field(name="pings", default=None)

    @property
    def is_listed(self) -> bool:
        """Whether it is one peer of the tailnet; a newer sidecar may have more reasons not to ping one."""
        return self.runs is not None or self.unprobed not in {"absent", "ambiguous", "self"}


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
        return structs.replace(
            self._round(2),
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
    """One line as a round, its time in UTC; raises :class:`SkippedLineError` where there is none."""
    try:
        this = _decoder.decode(line).to_round()
    except msgspec.ValidationError:
        this = _lenient(line)
    except (ValueError, RecursionError):
        raise SkippedLineError("malformed") from None
    if this.at.tzinfo is UTC:
        return this
    try:
        return structs.replace(this, at=this.at.astimezone(UTC))
    except OverflowError:  # the year 0 or 10000 in UTC
        raise SkippedLineError("wrong-type") from None


def _lenient(line: bytes) -> Round:
    """A round of which some part has another type than it should: what is about other nodes still counts."""
    try:
        value = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        raise SkippedLineError("malformed") from None
    if not isinstance(value, dict) or type(value.get("v")) is not int:
        raise SkippedLineError("wrong-type")
    if value["v"] not in VERSIONS:
        raise SkippedLineError("version")
    try:
        return _lenient_round(value)
    except msgspec.ValidationError:
        raise SkippedLineError("wrong-type") from None


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
    runs = [run for item in (given if isinstance(given, list) else [given]) for run in _lenient_runs(item)]
    return structs.replace(node, runs=tuple(runs))


def _lenient_runs(value: object) -> Iterator[_Run]:
    """The run without the latencies that are none; pings of which nothing can be read are failed ones."""
    try:
        yield msgspec.convert(value, _Run)
        return
    except msgspec.ValidationError:
        pass
    members = value if isinstance(value, dict) else {}
    given = members.get("LatencySeconds")
    latencies = given if isinstance(given, list) and isinstance(members.get("Err", ""), str) else []
    way = read_fields({name: part for name, part in members.items() if name in _WAY}, _Run)
    for good, group in groupby(latencies, _is_latency):
        run = tuple(group)
        yield structs.replace(way, latencies=run) if good else _Run(err=MALFORMED, times=len(run))
    if not latencies:
        yield _Run(err=MALFORMED, times=len(given) if isinstance(given, list) and given else 1)


def _is_latency(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_PING_S


_Kind = TypeVar("_Kind", Peer, Netcheck)


def _fields(value: object, kind: type[_Kind]) -> _Kind | None:
    return read_fields(value, kind) if isinstance(value, dict) else None


def _text(value: object) -> str:
    return "" if value is None else clean(msgspec.convert(value, str))


def _object(value: object) -> dict[str, object]:
    return {} if value is None else msgspec.convert(value, dict[str, object])
