"""Small looks at the machine: is a port free, does a socket answer."""

from __future__ import annotations

import socket
from pathlib import Path

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where "any address" is reached from here


def accepts_connections(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((_ANY.get(host, host), port), timeout=0.5):
            return True
    except OSError:
        return False


def accepts_on_socket(path: Path) -> bool:
    """Whether something listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0.5)
        try:
            client.connect(str(path))
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
