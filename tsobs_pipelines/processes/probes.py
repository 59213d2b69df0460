"""Checks whether a server accepts connections."""

from __future__ import annotations

import socket

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where "any address" is reached from here


def accepts_connections(address: str) -> bool:
    """Whether something listens at ``host:port``, or at the Unix socket of this path."""
    host, colon, port = address.rpartition(":")
    try:
        if not colon:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(0.5)
                client.connect(address)
        else:
            socket.create_connection((_ANY.get(host, host), int(port)), timeout=0.5).close()
    except OSError:
        return False
    return True
