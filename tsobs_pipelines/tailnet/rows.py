"""Rows of ``CONNECTIONS`` and ``NETCHECK``, computed from rounds of the journal by pure functions.

The rows of a round depend on the round and on those of the lookback before it, on nothing else: to collect
what is new since a time ``t``, hand in the rounds after ``t`` with those of the lookback before it as
``context``, and the rows are the same as from the whole day at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from tsobs_pipelines.tailnet.evidence import Observation, not_taken, observe
from tsobs_pipelines.tailnet.keys import key_rows
from tsobs_pipelines.tailnet.localapi import Netcheck
from tsobs_pipelines.tailnet.path import NO_RELAY
from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.timeseries.sampling import Sampling, bounded, interval_of
from tsobs_pipelines.timeseries.schema import ConnectionRow, KeyRow, NetcheckRow

_PACE_ROUNDS: Final = 8
"""So many rounds next to one another show how often they are taken."""

_SAYS_NOTHING: Final = frozenset({"not-taken", "absent", "not-sampled"})
"""What a round that does not know the sidecar's own node may say of it."""

DELTA_LOOKBACK: Final = Sampling().lookback
"""How far back a round looks for the counters that its traffic is measured from, at a round a minute."""


@dataclass(slots=True)
class Collected:
    """The rows of a stretch of the journal, and what stood in the way of better ones.

    ``own_node`` is the node that the sidecar itself runs on, if it is one of those asked for: it can't ping
    itself and has no rows. ``ambiguous`` holds the DNS names behind a name that several nodes have.
    """

    connections: list[ConnectionRow] = field(default_factory=list)
    netchecks: list[NetcheckRow] = field(default_factory=list)
    own_node: str | None = None
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failed_rounds: int = 0
    unstorable: int = 0
    """Rows that were left out, since the store takes none of their kind."""
    keys: list[KeyRow] = field(default_factory=list)
    """When keys expire, by the newest round that was taken."""
    interval: timedelta | None = None
    """The sampler's, by the newest rounds."""


def collect(
    rounds: Iterable[Round],
    nodes: Sequence[str],
    tailnet: str,
    context: Iterable[Round] = (),
    lookback: timedelta = DELTA_LOOKBACK,
) -> Collected:
    """Every row of ``rounds`` in one pass: a stream needs no memory but for its rows.

    Args:
        rounds: the rounds to make rows of, in any order, each time once.
        nodes: host names or DNS names; each is the ``hostname`` of its rows as given.
        tailnet: the tag of the rows.
        context: the rounds of the lookback before them, of which no rows are made.
        lookback: how far back a round looks for the one before it.
    """
    result = Collected()
    own: list[_Own] = []
    before: list[ConnectionRow] = []
    newest: list[Round] = []
    taken: Round | None = None
    for this in context:
        own.append(_own(this, nodes))
        before += _round_rows(this, nodes, tailnet, Collected())
    for this in rounds:
        own.append(_own(this, nodes))
        result.connections += _round_rows(this, nodes, tailnet, result)
        result.netchecks += _netcheck_rows(this, tailnet)
        newest = [*newest[1 - _PACE_ROUNDS :], this]
        if this.taken and (taken is None or this.at > taken.at):
            taken = this
    result.keys = key_rows(taken, nodes, tailnet)
    result.interval = interval_of_rounds(newest)
    _drop_own(result, own, lookback)
    order = {name: place for place, name in enumerate(nodes)}
    result.connections.sort(key=lambda row: (row.time, order[row.hostname]))
    result.connections = with_deltas(before, result.connections, lookback)
    return result


def interval_of_rounds(rounds: Sequence[Round]) -> timedelta | None:
    """The sampler's interval: what the newest round says, else the least distance of two."""
    newest = max(rounds, key=lambda this: this.at, default=None)
    if newest is not None and newest.interval_s is not None:
        return bounded(timedelta(seconds=newest.interval_s))
    return interval_of(this.at for this in rounds)


def connection_rows(
    rounds: Iterable[Round], nodes: Sequence[str], tailnet: str, context: Iterable[Round] = ()
) -> list[ConnectionRow]:
    """One row of ``CONNECTIONS`` for each round and each node but the sidecar's own, in the order of time.

    A round that could not be taken, a node that the round does not know and one whose name is not unique
    have a row of the type ``unknown``, whose ``evidence`` says which of them it is. See :func:`collect` for
    the arguments and for what was counted.
    """
    return collect(rounds, nodes, tailnet, context).connections


class _Own(NamedTuple):
    """The names that mean the sidecar's own node; if ``whole``, no other one of those asked for does."""

    at: datetime
    names: frozenset[str]
    whole: bool


def _own(this: Round, nodes: Sequence[str]) -> _Own:
    names = frozenset(node for node in nodes if this.is_own(node))
    return _Own(this.at, names, this.taken and this.own is not None)


def _drop_own(result: Collected, said: list[_Own], lookback: timedelta) -> None:
    """Take out the rows of the sidecar's own node that are of rounds which may not say which node that is.

    The newest round of the lookback that says so decides.
    """
    said.sort(key=lambda own: own.at)
    own_at: dict[datetime, frozenset[str]] = {}
    newest: datetime | None = None
    names: frozenset[str] = frozenset()
    for own in said:
        if newest is not None and own.at - newest > lookback:
            names = frozenset()
        if own.whole or own.names:
            newest, names = own.at, own.names if own.whole else names | own.names
        if names:
            own_at[own.at] = names
    if own_at:
        result.own_node = min(own_at[max(own_at)])
        result.connections = [
            row
            for row in result.connections
            if row.evidence not in _SAYS_NOTHING or row.hostname not in own_at.get(row.time, ())
        ]


def _round_rows(this: Round, nodes: Sequence[str], tailnet: str, found: Collected) -> Iterator[ConnectionRow]:
    if not this.taken:
        found.failed_rounds += 1
        nothing = not_taken(this)
        for node in nodes:
            yield _row(this.at, tailnet, node, nothing)
        return
    for node in nodes:
        seen = observe(this, node)
        if seen is None:
            continue
        if seen.namesakes:
            found.ambiguous[node] = seen.namesakes
        yield _row(this.at, tailnet, node, seen)


def _row(at: datetime, tailnet: str, node: str, seen: Observation) -> ConnectionRow:
    peer, pings = seen.peer, seen.pings
    path, warm_ms = pings.path, pings.warm_ms
    return ConnectionRow(
        time=at,
        tailnet=tailnet,
        hostname=node,
        connection_type=path.connection_type,
        relay_node=path.relay_node,
        latency_avg=round(sum(warm_ms) / len(warm_ms), 3) if warm_ms else None,
        latency_min=round(min(warm_ms), 3) if warm_ms else None,
        latency_max=round(max(warm_ms), 3) if warm_ms else None,
        latency_cold=None if pings.cold_ms is None else round(pings.cold_ms, 3),
        pings_sent=pings.sent,
        pings_received=pings.received,
        tx_bytes=peer.tx_bytes,
        rx_bytes=peer.rx_bytes,
        answered=seen.answered,
        evidence=seen.evidence,
        reason=seen.reason or None,
    )


def with_deltas(
    before: Iterable[ConnectionRow], rows: Iterable[ConnectionRow], lookback: timedelta = DELTA_LOOKBACK
) -> list[ConnectionRow]:
    """The rows with ``tx_delta`` and ``rx_delta``: bytes since the node's last row with counters.

    That row may be one of ``before``, and at most the lookback old. Both totals belong to one WireGuard peer:
    if either went back, both counted from 0.
    """
    last: dict[str, tuple[datetime, int, int]] = {}
    for row in sorted(before, key=lambda row: row.time):
        if row.tx_bytes is not None and row.rx_bytes is not None:
            last[row.hostname] = (row.time, row.tx_bytes, row.rx_bytes)
    return [_with_delta(last, row, lookback) for row in rows]


def _with_delta(
    last: dict[str, tuple[datetime, int, int]], row: ConnectionRow, lookback: timedelta
) -> ConnectionRow:
    tx, rx = row.tx_bytes, row.rx_bytes
    if tx is None or rx is None:
        return row
    previous = last.get(row.hostname)
    last[row.hostname] = (row.time, tx, rx)
    if previous is None or row.time - previous[0] > lookback:
        return row
    _, tx_before, rx_before = previous
    if tx < tx_before or rx < rx_before:
        tx_before = rx_before = 0
    return msgspec.structs.replace(row, tx_delta=tx - tx_before, rx_delta=rx - rx_before)


def netcheck_rows(rounds: Iterable[Round], tailnet: str) -> list[NetcheckRow]:
    """One row of ``NETCHECK`` for each region that a netcheck heard from, in the order of time and region.

    ``RegionLatency`` maps a region's id to nanoseconds; the ``DERPLatency`` of older forms to seconds. A
    netcheck that no region answered is one row with the region ``none``.
    """
    rows = [row for this in rounds for row in _netcheck_rows(this, tailnet)]
    rows.sort(key=lambda row: (row.time, row.region))
    return rows


def _netcheck_rows(this: Round, tailnet: str) -> list[NetcheckRow]:
    report = this.netcheck
    if report is None:
        return []
    latencies = {region: seconds * 1e3 for region, seconds in (report.region_s or {}).items()}
    latencies |= {region: nanoseconds / 1e6 for region, nanoseconds in (report.region_ns or {}).items()}
    common = NetcheckRow(
        time=this.at,
        tailnet=tailnet,
        region=NO_RELAY,
        udp=_flag(report.udp),
        ipv6=_flag(report.ipv6),
        mapping_varies=_flag(report.mapping_varies),
        port_mapping=_any([report.upnp, report.pmp, report.pcp]),
    )
    codes = _region_codes(this, report)
    if not latencies:
        return [common]
    return [
        msgspec.structs.replace(
            common,
            region=clean(region) or "unknown",
            latency=round(latency_ms, 3),
            preferred=int(region.partition("-")[0] == str(report.preferred)),
            code=codes.get(region.partition("-")[0]),
        )
        for region, latency_ms in sorted(latencies.items())
    ]


def _region_codes(this: Round, report: Netcheck) -> dict[str, str]:
    """The codes of regions by their id, from the relayed pongs of the round and the node's own home."""
    pings = (ping for burst in this.pings.values() for ping in burst)
    codes = {str(ping.region_id): clean(ping.region_code) for ping in pings if ping.region_id}
    if report.preferred and this.own is not None and this.own.home_region:
        codes[str(report.preferred)] = clean(this.own.home_region)
    return {region: code for region, code in codes.items() if code}


def _any(values: Iterable[bool | None]) -> int | None:
    """Whether any is true; ``None`` where none is known."""
    known = [value for value in values if value is not None]
    return int(any(known)) if known else None


def _flag(value: bool | None) -> int | None:  # noqa: FBT001 - an observation, no switch
    return None if value is None else int(value)
