"""States of nodes that the lab can bring about and witness without tsobs, and what tsobs says of them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal, TypeAlias, TypedDict

from tests.support.lab.processes import poll_until
from tests.support.lab.sidecar import Sidecar
from tests.support.lab.tailnet import Node, Tailnet
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet.rows import connection_rows
from tsobs_pipelines.timeseries.schema import ConnectionRow

State: TypeAlias = Literal[
    "direct", "relay", "peer-relay", "unreachable", "offline", "absent", "ambiguous", "daemon stopped"
]
OF_NODES: Final[tuple[State, ...]] = (
    "direct",
    "relay",
    "peer-relay",
    "unreachable",
    "offline",
    "absent",
    "ambiguous",
)
STATES: Final[tuple[State, ...]] = (*OF_NODES, "daemon stopped")

RELAY_HOST: Final = "relay"
"""The node that relays for others; nothing happens to it."""

RELAY_PORT: Final = "40000"
INTERVAL_S: Final = "20"
"""A busy machine needs more than the shortest interval to wait for every node that does not answer."""
SETTLED_WITHIN_S: Final = 180
ROUND_WITHIN_S: Final = 90
IN_A_ROW: Final = 3


class _Status(TypedDict):
    """What is needed of a peer in the daemon's status."""

    HostName: str
    DNSName: str
    Online: bool


@dataclass
class Matrix:
    """How often each injected state was called what."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, injected: State, row: ConnectionRow) -> None:
        """What a row says of its node."""
        said = called(row)
        self.counts[injected, said] += 1
        if injected != said:
            reason = row.reason or "no reason"
            self.wrong.append(f"{row.time:%H:%M:%S} {row.hostname}: {injected} was called {said} ({reason})")

    def text(self) -> str:
        """The matrix as a Markdown table, a row for each injected state."""
        columns = [*STATES, *sorted({said for _, said in self.counts} - set(STATES))]
        lines = [["injected", *columns], ["---"] * (len(columns) + 1)]
        lines += [[state, *(str(self.counts[state, said] or "") for said in columns)] for state in STATES]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass
class Stage:
    """A tailnet with a sampler, and the state that each node was brought into."""

    tailnet: Tailnet
    sidecar: Sidecar
    states: dict[str, State] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The nodes that change."""
        return [name for name in self.tailnet.nodes if name not in {RELAY_HOST, self.tailnet.observer.name}]

    def prepare(self) -> None:
        """Let one node relay for the others, which are all reached directly."""
        self.tailnet.node(RELAY_HOST).cli("set", f"--relay-server-port={RELAY_PORT}")
        self.states = dict.fromkeys(self.names, "direct")

    def change(self, wanted: Mapping[str, State]) -> None:
        """Bring the nodes into these states; see `settle`."""
        changed = [name for name, state in wanted.items() if state != self.states[name]]
        for name in changed:
            self._leave(name)
        self._join([self.tailnet.node(name) for name in changed])
        for name in changed:
            self._enter(name, wanted[name])
            self.states[name] = wanted[name]

    def _leave(self, name: str) -> None:
        """Back to a node that is there; its daemon starts again where the control plane has lost it."""
        node, network, here = self.tailnet.node(name), self.tailnet.network, self.tailnet.observer.host
        match self.states[name]:
            case "relay" | "peer-relay" as path:
                network.pass_udp(here, node.host)
                if path == "relay":
                    network.pass_udp(self.tailnet.node(RELAY_HOST).host, node.host)
            case "unreachable":
                node.cont()
            case "offline":
                node.start_daemon()
            case "absent":
                self.tailnet.restore_record(name)
                node.kill()
                node.start_daemon()
            case "ambiguous":
                self.tailnet.remove_record(f"{name}-1")

    def _join(self, nodes: Sequence[Node]) -> None:
        with ThreadPoolExecutor(len(nodes) or 1) as pool:
            list(pool.map(Node.join, nodes))

    def _enter(self, name: str, state: State) -> None:
        node, network, here = self.tailnet.node(name), self.tailnet.network, self.tailnet.observer.host
        match state:
            case "relay" | "peer-relay":
                network.drop_udp(here, node.host)
                if state == "relay":
                    network.drop_udp(self.tailnet.node(RELAY_HOST).host, node.host)
            case "unreachable":
                node.stop()
            case "offline":
                node.kill()
            case "absent":
                self.tailnet.remove_record(name)
            case "ambiguous":
                self.tailnet.add_record(f"{name}-1", name)

    def settle(self) -> None:
        """Wait until the observer's own daemon shows each state, asked without the sidecar."""
        for name, state in self.states.items():
            poll_until(
                partial(self._witnessed, name, state),
                within_s=SETTLED_WITHIN_S,
                what=f"{name} to be {state}",
            )

    def _witnessed(self, name: str, state: State) -> bool:
        status = json.loads(self.tailnet.observer.cli("status", "--json"))
        peers: list[_Status] = list((status["Peer"] or {}).values())
        mine = [peer for peer in peers if peer["DNSName"].partition(".")[0] == name]
        twins = [peer for peer in peers if peer["HostName"] == name]
        match state:
            case "absent":
                return not mine
            case "ambiguous":
                return len(twins) > 1
            case "offline":
                return [peer["Online"] for peer in mine] == [False]
            case "unreachable":
                silent = self.tailnet.observer.ping(self.tailnet.node(name), timeout_s=2) is None
                return silent and [peer["Online"] for peer in mine] == [True]
            case _:
                # One of them may still come over the path of before.
                return all(self._path(name) == state for _ in range(IN_A_ROW)) and len(twins) == 1

    def _path(self, name: str) -> str:
        pong = self.tailnet.observer.ping(self.tailnet.node(name), timeout_s=2)
        if pong is None:
            return "silent"
        if pong["PeerRelay"]:
            return "peer-relay"
        return "relay" if pong["DERPRegionCode"] else "direct"

    def round_after(self, moment: datetime, fits: Callable[[Round], bool]) -> Round:
        """The first round of the journal that began after a moment and fits."""

        def found() -> Round | None:
            later = (this for this in self.sidecar.rounds() if this.at > moment and fits(this))
            return next(later, None)

        return poll_until(found, within_s=ROUND_WITHIN_S, what=f"a round after {moment:%H:%M:%S}")

    def look(self, matrix: Matrix) -> None:
        """What the next round says of each node, into the matrix."""
        self.settle()
        this = self.round_after(datetime.now(UTC), lambda one: one.taken)
        for row in connection_rows([this], self.names, "lab"):
            matrix.add(self.states[row.hostname], row)

    def look_at_a_stopped_daemon(self, matrix: Matrix) -> None:
        """The same while the observer's own daemon is stopped."""
        self.tailnet.observer.cli("down")
        try:
            this = self.round_after(datetime.now(UTC), lambda one: not one.taken)
            for row in connection_rows([this], self.names, "lab"):
                matrix.add("daemon stopped", row)
        finally:
            self.tailnet.observer.join()


def called(row: ConnectionRow) -> str:
    """What a row says of its node, as the name of a state."""
    if row.evidence == "not-taken" and "Stopped" in (row.reason or ""):
        return "daemon stopped"
    return row.evidence or row.connection_type


def shuffled(steps: int, nodes: Sequence[str], seed: int) -> list[dict[str, State]]:
    """The states of all nodes in each of these steps: each state about as often as the others."""
    dice = random.Random(seed)  # noqa: S311 - an order, not a secret
    deck: list[State] = [OF_NODES[place % len(OF_NODES)] for place in range(steps * len(nodes))]
    dice.shuffle(deck)
    return [
        dict(zip(nodes, deck[step * len(nodes) : (step + 1) * len(nodes)], strict=True))
        for step in range(steps)
    ]
