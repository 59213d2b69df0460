"""Why a node is relayed, as far as the observing side can tell: from its rounds and its netchecks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tsobs_pipelines.timeseries.schema import ConnectionRow, NetcheckRow

NETCHECK_HOLDS: Final = timedelta(minutes=30)
"""A netcheck is made in every tenth round; an older one says nothing about now."""

_ON_A_PATH: Final = frozenset({"direct", "relay", "peer-relay"})


@dataclass(frozen=True, slots=True)
class Network:
    """What the newest netcheck says of the observing side; ``None`` where it does not know.

    ``without_udp_since`` is the first of the netchecks in a row that saw no UDP. ``home`` is the code of this
    side's own DERP region; ``home_before`` that of the netcheck before, where it was another one.
    """

    at: datetime
    udp: bool | None = None
    mapping_varies: bool | None = None
    port_mapping: bool | None = None
    without_udp_since: datetime | None = None
    home: str | None = None
    home_before: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A round in which ``node`` was relayed: the path of every node that answered, and the network."""

    node: str
    paths: Mapping[str, str]
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """The likely cause, and what to try, each as a clause."""

    kind: str
    text: str
    remedy: str

    def __str__(self) -> str:
        """Both as one line."""
        return f"{self.text}; try: {self.remedy}"


def likely_cause(scene: Scene) -> Cause:
    """Why the node is relayed. It says so where that can't be known from here."""
    return _by_the_network(scene) or _by_the_others(scene)


def _by_the_network(scene: Scene) -> Cause | None:
    """What the netcheck shows of this side, if it shows what hinders direct paths."""
    network = scene.network
    if network is not None and network.udp is False:
        since = network.without_udp_since or network.at
        text = f"UDP is blocked here: netcheck sees none since {since:%H:%M}"
        return Cause("udp-blocked", text, "let UDP out of the observing host's network")
    if network is not None and network.mapping_varies and not network.port_mapping:
        text = f"the NAT here changes ports by destination, and so may the one of {scene.node}"
        return Cause("hard-nat", text, "open UDP 41641 on one of the two, or add a peer relay")
    return None


def _by_the_others(scene: Scene) -> Cause:
    """What the other nodes' paths in the same round show of which side it is."""
    others = {name: path for name, path in scene.paths.items() if name != scene.node}
    relayed = sum(path == "relay" for path in others.values())
    network = scene.network
    if relayed == len(others) and network is not None and network.home_before:
        regions = f"from {network.home_before} to {network.home} at {network.at:%H:%M}"
        text = f"this side changed its network: its DERP region went {regions}"
        return Cause("moved", text, "look at the uplink of the observing host")
    if others and relayed == len(others):
        text = f"this side: all {len(scene.paths)} nodes that answer are relayed at once"
        return Cause("this-side", text, "look at the firewall and the NAT of the observing host")
    if others and not relayed:
        text = f"only {scene.node}: its side, for the others are reached directly"
        return Cause("that-side", text, f"look at the firewall and the NAT of {scene.node}: UDP 41641")
    text = "not known from here: no other node answers to compare with"
    if others:
        text = f"not known from here: {relayed + 1} of {len(scene.paths)} nodes are relayed"
    if network is not None and network.udp:
        text += f", and UDP worked here at {network.at:%H:%M}"
    return Cause("unknown", text, f"tailscale netcheck here and on {scene.node}")


def scenes(
    node: str, rows: Sequence[ConnectionRow], netchecks: Sequence[NetcheckRow]
) -> dict[datetime, Scene]:
    """The scene of each round in which the node was relayed; ``rows`` are those of all nodes."""
    paths: dict[datetime, dict[str, str]] = {}
    for row in rows:
        if row.connection_type in _ON_A_PATH:
            paths.setdefault(row.time, {})[row.hostname] = row.connection_type
    networks = _networks(netchecks)
    return {
        at: Scene(node, found, _network_at(at, networks))
        for at, found in paths.items()
        if found.get(node) == "relay"
    }


def _networks(netchecks: Iterable[NetcheckRow]) -> list[Network]:
    """One for each netcheck, oldest first: its rows of all regions say the same of the network."""
    by_time: dict[datetime, list[NetcheckRow]] = {}
    for row in sorted(netchecks, key=lambda row: row.time):
        by_time.setdefault(row.time, []).append(row)
    found: list[Network] = []
    since: datetime | None = None
    home: str | None = None
    for at, rows in by_time.items():
        said = rows[0]
        since = (since or at) if said.udp == 0 else None
        here = next((row.code for row in rows if row.preferred and row.code), None)
        found.append(
            Network(
                at,
                _bool(said.udp),
                _bool(said.mapping_varies),
                _bool(said.port_mapping),
                since,
                here,
                home if here and home != here else None,
            )
        )
        home = here or home
    return found


def _network_at(at: datetime, networks: Sequence[Network]) -> Network | None:
    known = [network for network in networks if timedelta() <= at - network.at <= NETCHECK_HOLDS]
    return known[-1] if known else None


def _bool(flag: int | None) -> bool | None:
    return None if flag is None else bool(flag)
