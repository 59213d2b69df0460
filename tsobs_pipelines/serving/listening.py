"""The socket that a server listens on, for the server and for whoever asks beforehand whether it can."""

from __future__ import annotations

import socket
from errno import EACCES, EADDRINUSE, EPERM
from typing import Final

BACKLOG: Final = 512
ABOUT_THE_PORT: Final = frozenset({EACCES, EADDRINUSE, EPERM})
"""Errors that another port would mend; the others are about the address."""


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; on ``::`` for IPv4 as well, where links to 127.0.0.1 lead.

    Raises:
        OSError: the address is not this machine's, or taken.
    """
    if ":" not in host:
        return socket.create_server((host, port), backlog=BACKLOG)
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=both)


def why_not_free(host: str, port: int) -> OSError | None:
    """Why this process can't listen there, or ``None`` when it can."""
    try:
        listening_socket(host, port).close()
    except OSError as error:
        return error
    return None
