"""Checks whether a port is free, and whether a server accepts connections."""

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


def why_not_free(host: str, port: int) -> str | None:
    """Why this process can't listen there, or ``None`` when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError as error:
            return error.strerror
    return None
