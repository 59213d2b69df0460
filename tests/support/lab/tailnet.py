"""A real tailnet: tailscaled on four hosts of the lab, with a control plane, DERP and STUN on their hub.

The sidecar belongs on ``observer``, whose peers are the three critical nodes. Its HTTP port can stay in the
machine's own network: set ``TAILSCALE_BIN`` to the observer's ``command``, which runs in the observer's.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TypedDict

import httpx

from tests.support.lab.build import control_server, tailscale_programs
from tests.support.lab.delay import delayed
from tests.support.lab.network import HUB_ADDRESS, Host, Network, star
from tests.support.lab.processes import Server, poll_until, run
from tests.support.lab.runs import Run

OBSERVER = "observer"
CRITICAL_NODES = ("git", "chocolate-factory-dev", "chocolate-factory")
LOGIN_SERVER = f"http://{HUB_ADDRESS}:8080"
UP_WITHIN_S = 30


class Pong(TypedDict):
    """What this module needs of a LocalAPI ping's answer."""

    Err: str
    LatencySeconds: float
    Endpoint: str
    PeerRelay: str
    DERPRegionCode: str


@dataclass
class Node:
    """One machine of the tailnet.

    Attributes:
        name: Its host name.
        socket: The unix socket of its daemon.
        command: A program that is its ``tailscale``, callable from anywhere.
        program: The same without the socket, for who names it.
    """

    name: str
    host: Host
    daemon: Server
    socket: Path
    command: Path
    program: Path

    @cached_property
    def ip(self) -> str:
        """Its IPv4 address in the tailnet, which stays the same when its daemon comes back.

        Raises:
            LabError: The daemon does not answer.
        """
        return self.cli("ip", "-4").strip()

    @property
    def netns(self) -> str:
        """The name of its network namespace."""
        return self.host.namespace

    def cli(self, *arguments: str, timeout_s: float = 20) -> str:
        """The standard output of its ``tailscale`` with ``arguments``.

        Raises:
            LabError: It failed.
        """
        return run([self.command, *arguments], timeout_s=timeout_s)

    def ping(self, peer: Node, *, timeout_s: float = 5) -> Pong | None:
        """One disco ping to a peer: its pong, or None when none came in time."""
        # Not by the CLI: that of 1.80 has no way to ask for it.
        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://local-tailscaled.sock") as daemon:
            try:
                answer = daemon.post(
                    "/localapi/v0/ping", params={"ip": peer.ip, "type": "disco"}, timeout=timeout_s
                )
            except httpx.TransportError:
                return None
        pong: Pong = json.loads(answer.content)
        return None if pong["Err"] else pong

    def start(self) -> None:
        """Start its daemon and wait until it is in the tailnet; from a thread that stays (see `Server`)."""
        self.start_daemon()
        self.join()

    def start_daemon(self) -> None:
        """Start its daemon, or the one that was killed, with the state it had."""
        self.socket.unlink(missing_ok=True)
        self.daemon.start()

    def join(self) -> None:
        """Log in, or wait until a daemon with a login is running again."""
        self.daemon.wait_until(self.socket.exists, within_s=UP_WITHIN_S)
        self.cli(
            "up",
            f"--login-server={LOGIN_SERVER}",
            f"--hostname={self.name}",
            "--accept-dns=false",
            f"--timeout={UP_WITHIN_S}s",
            timeout_s=UP_WITHIN_S + 5,
        )

    def kill(self) -> None:
        """End its daemon with SIGKILL: the node goes offline, its counters are lost."""
        self.daemon.kill()

    def stop(self) -> None:
        """Freeze its daemon: the node stays online for the others and answers nothing."""
        self.daemon.send(signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen daemon go on."""
        self.daemon.send(signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The daemon is frozen while the block runs."""
        self.stop()
        try:
            yield
        finally:
            self.cont()


@dataclass
class Tailnet:
    """The running tailnet."""

    network: Network
    directory: Path
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def observer(self) -> Node:
        """The node beside which the sidecar belongs."""
        return self.nodes[OBSERVER]

    def node(self, name: str) -> Node:
        """The node with this host name."""
        return self.nodes[name]

    def set_forwarding(self, on: bool) -> None:
        """On: direct paths. Off: every path over DERP, once the daemons have noticed (about 12 s)."""
        self.network.set_forwarding(on)

    def slow(self, node: Node, *, ms: float = 260) -> contextlib.AbstractContextManager[None]:
        """While the block runs, the observer's pings to a node take so much longer, on the same path."""
        log = self.directory / f"delay-{node.name}.log"
        return delayed(self.network, self.observer.host, node.host, ms, log)

    def change_record(self, name: str, **members: object) -> None:
        """Change members of a node's record in the control server: ``Name``, ``KeyExpiry``, ``Expired``.

        A node's ``name`` here and below is the first label of its DNS name.
        """
        self._admin("PATCH", f"/{name}", members)

    def add_record(self, dns_name: str, host_name: str) -> None:
        """Add a node that is offline for good, such as an old one that was installed anew."""
        self._admin("POST", "", {"dnsName": dns_name, "hostName": host_name})

    def remove_record(self, name: str) -> None:
        """Remove a node, as the admin console, a logout of an ephemeral node and its expiry do."""
        self._admin("DELETE", f"/{name}")

    def restore_record(self, name: str) -> None:
        """Bring a node back that was removed."""
        self._admin("PUT", f"/{name}")

    def _admin(self, method: str, path: str, body: Mapping[str, object] | None = None) -> None:
        command = ["curl", "-sS", "--fail-with-body", "-X", method, f"{LOGIN_SERVER}/lab/nodes{path}"]
        run(self.network.hub.inside(*command, *(["-d", json.dumps(body)] if body else [])))

    def direct(self) -> None:
        """Bring every path from the observer back to a direct one: what a test finds and leaves behind.

        Raises:
            LabError: A path is not direct within a minute.
        """
        self.set_forwarding(True)
        for node in self.nodes.values():
            if not node.daemon.running:
                node.start()
            node.cont()
        for peer in (node for node in self.nodes.values() if node is not self.observer):
            poll_until(partial(self._endpoint, peer), within_s=60, what=f"a direct path to {peer.name}")

    def _endpoint(self, peer: Node) -> str | None:
        """Where the observer's pong came from; None when it was relayed or did not come."""
        pong = self.observer.ping(peer)
        return pong["Endpoint"] or None if pong else None


@contextlib.contextmanager
def running_tailnet(
    lab_run: Run, observers: Path | None = None, peers: Sequence[str] = CRITICAL_NODES
) -> Iterator[Tailnet]:
    """A tailnet of an observer and its peers that are up, gone when the block ends.

    ``observers`` is the directory of the observer's programs, where they are not those of the others.
    """
    names = (OBSERVER, *peers)
    with star(lab_run, names) as network:
        place = lab_run.place("tailnet")
        control = Server(
            name="controlserver",
            command=network.hub.inside(control_server(), "--host", HUB_ADDRESS),
            log=place / "control.log",
        )
        # Daemons end before their namespaces do.
        with contextlib.ExitStack() as running:
            running.callback(control.stop)
            control.start()
            control.wait_until(lambda: "ready" in control.log.read_text().splitlines(), within_s=UP_WITHIN_S)
            programs = dict.fromkeys(names, tailscale_programs())
            programs[OBSERVER] = observers or programs[OBSERVER]
            nodes = {name: _node(lab_run, name, network.hosts[name], programs[name]) for name in names}
            tailnet = Tailnet(network, place, nodes)
            for node in tailnet.nodes.values():
                running.callback(node.kill)
                node.start_daemon()
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(Node.join, tailnet.nodes.values()))
            tailnet.direct()
            yield tailnet


def _node(lab_run: Run, name: str, host: Host, programs: Path) -> Node:
    place = lab_run.place(f"node-{name}")
    socket = place / "tailscaled.sock"
    command = place / "tailscale"
    program = place / "tailscale-without-socket"
    for script, words in ((command, [f"--socket={socket}"]), (program, [])):
        line = " ".join(host.inside(programs / "tailscale", *words))
        script.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        script.chmod(0o755)
    daemon = Server(
        name=f"tailscaled of {name}",
        command=host.inside(
            programs / "tailscaled",
            "--tun=userspace-networking",
            "--no-logs-no-support",
            f"--statedir={place / 'state'}",
            f"--socket={socket}",
            "--port=41641",
        ),
        log=place / "tailscaled.log",
    )
    return Node(name, host, daemon, socket, command, program)
