"""A delay of the packets from one host of the lab to another, for kernels without netem.

The hub routes them into a TUN device, and the program here writes each back into it when its time has come.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tests.support.lab.network import Host, Network
from tests.support.lab.processes import Server, run

READY_WITHIN_S = 10
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_LONGEST_PACKET = 65_536


@contextlib.contextmanager
def delayed(network: Network, source: Host, target: Host, ms: float, log: Path) -> Iterator[None]:
    """While the block runs, what goes from ``source`` to ``target`` takes ``ms`` longer.

    Raises:
        LabError: this machine has no TUN devices.
    """
    hub, number = network.hub.namespace, target.address.split(".")[2]
    device, table = f"delay{number}", f"{100 + int(number)}"
    server = Server(
        name=f"delay of {ms:g} ms to {target.address}",
        command=network.hub.inside(sys.executable, "-m", "tests.support.lab.delay", device, f"{ms:g}"),
        log=log,
        environment={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    # What comes out of the device goes on as usual, and does not go into it again.
    rules = (
        ["pref", "6", "iif", device, "lookup", "main"],
        ["pref", "7", "from", source.address, "to", target.address, "lookup", table],
    )
    log.unlink(missing_ok=True)
    with contextlib.ExitStack() as made:
        made.callback(server.stop)
        server.start()
        server.wait_until(lambda: "ready" in log.read_text().splitlines(), within_s=READY_WITHIN_S)
        run(["ip", "-n", hub, "link", "set", device, "up"])
        run(network.hub.inside("sysctl", "--quiet", "--write", f"net.ipv4.conf.{device}.rp_filter=0"))
        run(["ip", "-n", hub, "route", "add", "default", "dev", device, "table", table])
        for rule in rules:
            run(["ip", "-n", hub, "rule", "add", *rule])
            made.callback(run, ["ip", "-n", hub, "rule", "delete", *rule])
        yield


def hold(device: str, seconds: float) -> None:
    """Make the TUN device, and give each of its packets back after so long; never returns."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN_NO_PI))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([tun], [], [], patience)[0]:
            with contextlib.suppress(BlockingIOError):
                waiting.append((time.monotonic() + seconds, os.read(tun, _LONGEST_PACKET)))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(tun, waiting.popleft()[1])


if __name__ == "__main__":
    hold(sys.argv[1], float(sys.argv[2]) / 1000)
