"""Free ports for programs that have to be told theirs before they start.

Tests run side by side. A port that the kernel chose (out of ``net.ipv4.ip_local_port_range``, 32768 and up)
and that was let go again may be another test's by the time that the program it was named to listens. Those
below that range the kernel gives to nobody who does not name one.
"""

from __future__ import annotations

import secrets
import socket

_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now, and that nobody gets without naming it."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            # A connection that has just ended is no obstacle to a listener of the same name.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
