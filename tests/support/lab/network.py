"""Hosts of the lab: network namespaces around one router, in which addresses repeat from run to run.

The router ("hub") is 10.88.N.1 for host number N, which is 10.88.N.2, and 10.88.0.1 for all of them. Nothing
is connected to the machine's own network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab.processes import LabError, run
from tests.support.lab.runs import Run

HUB_ADDRESS = "10.88.0.1"


@dataclass(frozen=True)
class Host:
    """One network namespace with an address.

    Attributes:
        namespace: Its name for `ip netns`.
        address: Its IPv4 address in the lab's network.
    """

    namespace: str
    address: str

    def inside(self, *command: str | Path) -> list[str]:
        """The command line that runs ``command`` in this host's network, and nothing else of its own."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *(str(word) for word in command)]


@dataclass(frozen=True)
class Network:
    """The hub and the hosts around it, by name."""

    hub: Host
    hosts: dict[str, Host]

    def set_forwarding(self, on: bool) -> None:
        """Let the hosts reach one another through the hub, or only the hub itself."""
        run(self.hub.inside("sysctl", "--quiet", "--write", f"net.ipv4.ip_forward={int(on)}"))

    def drop_udp(self, host: Host, other: Host | None = None) -> None:
        """Lose all UDP between two hosts; without another, all of this one, that to the hub among it."""
        for way in _ways(host, other):
            run(["ip", "-n", self.hub.namespace, "rule", "add", "pref", "5", *way, "blackhole"])

    def pass_udp(self, host: Host, other: Host | None = None) -> None:
        """Let pass what `drop_udp` with the same hosts loses."""
        for way in _ways(host, other):
            run(["ip", "-n", self.hub.namespace, "rule", "delete", "pref", "5", *way, "blackhole"])

    @contextlib.contextmanager
    def without_udp(self, host: Host, other: Host | None = None) -> Iterator[None]:
        """`drop_udp` while the block runs."""
        self.drop_udp(host, other)
        try:
            yield
        finally:
            self.pass_udp(host, other)


def _ways(host: Host, other: Host | None) -> list[list[str]]:
    """The packets of both directions, as `ip rule` says it."""
    if other is None:
        return [["from", host.address, "ipproto", "udp"], ["to", host.address, "ipproto", "udp"]]
    return [
        ["from", one.address, "to", two.address, "ipproto", "udp"]
        for one, two in ((host, other), (other, host))
    ]


@contextlib.contextmanager
def star(lab_run: Run, names: Sequence[str]) -> Iterator[Network]:
    """A hub and a host for each of ``names``, forwarding on; all are gone when the block ends.

    Raises:
        LabError: No root, no iproute2 or no namespaces here.
    """
    hub = Host(lab_run.namespace("hub"), HUB_ADDRESS)
    hosts = {
        name: Host(lab_run.namespace(name), f"10.88.{number}.2") for number, name in enumerate(names, start=1)
    }
    with contextlib.ExitStack() as made:
        for host in (hub, *hosts.values()):
            try:
                run(["ip", "netns", "add", host.namespace])
            except (LabError, FileNotFoundError) as error:
                message = f"the tailnet needs root, iproute2 and network namespaces: {error}"
                raise LabError(message) from error
            made.callback(run, ["ip", "netns", "delete", host.namespace])
            run(["ip", "-n", host.namespace, "link", "set", "lo", "up"])
        run(["ip", "-n", hub.namespace, "address", "add", f"{HUB_ADDRESS}/32", "dev", "lo"])
        # Behind the rules of `drop_udp`, which hold for packets to the hub itself as well.
        run(["ip", "-n", hub.namespace, "rule", "add", "pref", "10", "lookup", "local"])
        run(["ip", "-n", hub.namespace, "rule", "delete", "pref", "0", "lookup", "local"])
        for number, host in enumerate(hosts.values(), start=1):
            _connect(hub, host, number)
        network = Network(hub, hosts)
        network.set_forwarding(True)
        yield network


def _connect(hub: Host, host: Host, number: int) -> None:
    port = f"host{number}"
    # Both ends are made inside their namespaces: no name of theirs is ever seen in the machine's own.
    link = ["ip", "-n", hub.namespace, "link", "add", port, "type", "veth"]
    run([*link, "peer", "name", "eth0", "netns", host.namespace])
    run(["ip", "-n", hub.namespace, "address", "add", f"10.88.{number}.1/24", "dev", port])
    run(["ip", "-n", hub.namespace, "link", "set", port, "up"])
    run(["ip", "-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0"])
    run(["ip", "-n", host.namespace, "link", "set", "eth0", "up"])
    run(["ip", "-n", host.namespace, "route", "add", "default", "via", f"10.88.{number}.1"])
