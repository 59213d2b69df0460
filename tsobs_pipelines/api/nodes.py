"""The latest state of every node: its newest round, its last 24 hours, and tailscaled's current status.

The store is needed, the sidecar is not: without it the nodes are as they were last seen, and the answer says
that the sidecar is down and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self, cast

from tsobs_pipelines.api.dependencies import Sidecar
from tsobs_pipelines.api.fresh import FreshRounds
from tsobs_pipelines.api.schemas import Day, Node, NodesAnswer, NodeState, PartState, Spark
from tsobs_pipelines.api.series import RELAYS, Bucket, buckets, loss_of, number, whole
from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.tailnet.localapi import NEVER, Peer, read_fields
from tsobs_pipelines.tailnet.path import NO_RELAY
from tsobs_pipelines.tailnet.peers import OWN, PeerError, PeerNames, peer_names
from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.evidence import clause_of
from tsobs_pipelines.timeseries.sampling import sampling_at
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

KNOWN_FOR = timedelta(days=30)
"""A node is known while it has a row in this span: as long as the sidecar keeps its journal."""

DAY = timedelta(hours=24)
RECENT = DAY
SPARK = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Live:
    """What tailscaled says now, or why it can't be asked."""

    state: PartState
    peers: Mapping[str, Peer]
    names: PeerNames

    @property
    def home_region(self) -> str:
        """Code of the DERP region that the sidecar's own node calls home; empty when it is not known."""
        own = self.peers.get(OWN)
        return clean(own.home_region) if own is not None else ""

    def peer(self, hostname: str) -> tuple[Peer | None, bool]:
        """The node of this name, and whether it is the sidecar's own."""
        try:
            key = self.names.find(hostname)
        except PeerError:
            return None, False
        return self.peers[key], key == OWN


def live_status(sidecar: Sidecar) -> Live:
    """Ask the sidecar for the status; a sidecar that does not answer is an answer here."""
    try:
        status = sidecar.get_tailscale_status()
    except SidecarError as error:
        return Live(PartState(ok=False, detail=str(error)), {}, peer_names({}))
    state = status.get("BackendState")
    found = status.get("Peer")
    nodes = {OWN: status.get("Self"), **(found if isinstance(found, dict) else {})}
    peers = {key: read_fields(node, Peer) for key, node in nodes.items() if isinstance(node, dict)}
    detail = f"tailscaled {status.get('Version', '')} is {state}"
    return Live(PartState(ok=state == "Running", detail=detail), peers, peer_names(peers))


def newest_rows(
    store: TimeSeriesStore, tailnet: str, now: datetime, span: timedelta
) -> dict[str, ConnectionRow]:
    """The newest row of every node that has one in the last ``span``, by host name."""
    where = {"tailnet": tailnet}
    rows = store.latest(CONNECTIONS, Window(now - span, now + timedelta(minutes=1)), where)
    return {row.hostname: row for row in rows}


@dataclass(frozen=True, slots=True)
class Seen:
    """The inputs of the latest state: the live status, and the newest row of each node.

    ``uncollected`` names the nodes whose newest row is from the journal and not in the store yet.
    """

    live: Live
    rows: Mapping[str, ConnectionRow]
    uncollected: Set[str]

    @classmethod
    def of(cls, live: Live, stored: Mapping[str, ConnectionRow], fresh: FreshRounds) -> Self:
        """The newer one of each node's stored and journalled rows."""
        known = {name: row.time for name, row in stored.items()}
        newer = {
            name: row for row in fresh.rows if (name := row.hostname) not in known or row.time > known[name]
        }
        return cls(live, {**stored, **newer}, newer.keys())


def names_of(tailnet: Tailnet, rows: Mapping[str, ConnectionRow]) -> list[str]:
    """Every known node, the critical ones first in the order of the settings."""
    return [*tailnet.critical_nodes, *sorted(rows.keys() - set(tailnet.critical_nodes))]


def snapshot(store: TimeSeriesStore, tailnet: Tailnet, seen: Seen, now: datetime) -> NodesAnswer:
    """Every node, in the order of :func:`names_of`; raises what the store raises."""
    nodes = [
        _node(name, tailnet, seen, day_of(store, tailnet.name, name, now))
        for name in names_of(tailnet, seen.rows)
    ]
    pace = sampling_at(store, tailnet.name, now)
    return NodesAnswer(
        tailnet=tailnet.name,
        sidecar=seen.live.state,
        interval_s=round(pace.interval.total_seconds()),
        stale_after_s=round(pace.stale_after.total_seconds()),
        nodes=nodes,
    )


def _node(hostname: str, tailnet: Tailnet, all_seen: Seen, day: Day) -> Node:
    peer, is_self = all_seen.live.peer(hostname)
    row = all_seen.rows.get(hostname)
    sent, received = (whole(row.pings_sent), whole(row.pings_received)) if row else (0, 0)
    state = row.connection_type if row else "unknown"
    handshake = peer.last_handshake if peer is not None else None
    return Node(
        hostname=hostname,
        critical=hostname in tailnet.critical_nodes,
        state=cast("NodeState", "self" if is_self else state),
        evidence=row.evidence if row and not is_self else None,
        reason=clause_of(row) if row and not is_self else "",
        relay_node=row.relay_node if row else NO_RELAY,
        measured_at=row.time if row else None,
        collected=hostname not in all_seen.uncollected,
        latency_ms=number(row.latency_avg if row else None),
        latency_min=number(row.latency_min if row else None),
        latency_max=number(row.latency_max if row else None),
        loss=None if state == "offline" else loss_of(sent, received),
        threshold_ms=tailnet.latency_threshold_of(hostname),
        online=peer.online if peer is not None else None,
        last_handshake=None if handshake == NEVER else handshake,
        tx_bytes=_first(peer.tx_bytes if peer else None, row.tx_bytes if row else None),
        rx_bytes=_first(peer.rx_bytes if peer else None, row.rx_bytes if row else None),
        day=day,
    )


def day_of(store: TimeSeriesStore, tailnet: str, hostname: str, now: datetime) -> Day:
    """The trailing 24 hours of a node, from whole half hours; the shares are those of the daily summary."""
    where = {"tailnet": tailnet, "hostname": hostname}
    found = buckets(store, where, now - DAY, now + timedelta(minutes=1), SPARK)
    rounds, direct = _rounds(found), sum(bucket.types.get("direct", 0) for bucket in found)
    relayed = sum(bucket.relayed for bucket in found)
    on_known_path = direct + relayed
    answered, taken = sum(bucket.answered for bucket in found), sum(bucket.taken for bucket in found)
    return Day(
        rounds=rounds,
        availability=_share(answered, taken),
        loss=loss_of(sum(bucket.sent for bucket in found), sum(bucket.received for bucket in found)),
        direct=_share(direct, on_known_path),
        relayed=_share(relayed, on_known_path),
        tx_bytes=sum(bucket.tx_bytes for bucket in found),
        rx_bytes=sum(bucket.rx_bytes for bucket in found),
        spark=[_spark(bucket) for bucket in found],
    )


def _spark(bucket: Bucket) -> Spark:
    relayed = sum(bucket.types.get(name, 0) for name in RELAYS)
    return Spark(
        timestamp=bucket.start, latency_ms=bucket.latency_ms, relayed=_share(relayed, bucket.rounds) or 0.0
    )


def _rounds(found: Sequence[Bucket]) -> int:
    return sum(bucket.rounds for bucket in found)


def _share(part: int, total: int) -> float | None:
    return round(part / total, 6) if total else None


def _first(*values: object) -> int | None:
    return next((value for value in values if isinstance(value, int)), None)
