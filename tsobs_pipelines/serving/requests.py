"""Which requests are accepted: those with a ``Host`` of this server, and no cross-site origin.

Both checks need nothing but the request's headers. They protect servers without passwords from the browsers
of the people who use them: a web page may send requests to any address that its reader can reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from starlette.types import Scope

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::(?P<port>\d{0,5}))?", re.ASCII
)
_MAX_PORT: Final = 65_535
_SHOWN = 60


class RefusedError(Exception):
    """A request that is not answered: ``status`` of HTTP, and one line that says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class HostNames:
    """The names under which a server answers, so that no web site can reach it through a name of its own.

    Loopback's names, and ``names``: the address it listens on and those of its public URLs. Any port: a
    tunnel brings its own, and a foreign name does not become ours by a port. A request may also name the
    address of the socket that it came in by, which no foreign name can stand for.
    """

    def __init__(self, *names: str | None) -> None:
        self._names = {*_LOOPBACK, *(name.lower() for name in names if name)}

    def allow(self, host: str, reached: str | None) -> bool:
        """Whether ``host``, a Host header, names this server; ``reached`` is the socket's own address."""
        found = _name_and_port(host)
        if found is None:
            return False
        name, _ = found
        if name in self._names:
            return True
        address = _address(name)
        return address is not None and address == _address(reached or "")

    def check(self, scope: Scope, setting: str) -> str:
        """The Host header of a request; ``setting`` is the variable by which a name can be added.

        Raises:
            RefusedError: there is not exactly one, or it names another server.
        """
        hosts = _values(scope, b"host")
        reached = scope.get("server")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self.allow(host, reached[0] if reached else None):
            shown = ascii(host[:_SHOWN])
            raise RefusedError(
                400, f"Host {shown} is not a name of this server; set {setting} to the address you use"
            )
        return host


def refuse_foreign(scope: Scope, host: str, trusted: Iterable[str] = ()) -> None:
    """Reject requests that a web page of another origin made a browser send.

    A person who follows a link from elsewhere (a message, the page of the API) is let through: that is a
    navigation of a whole tab by GET. Programs send none of these headers.

    Args:
        scope: the request or WebSocket.
        host: its Host header.
        trusted: further origins (``https://name``) whose pages are our own, for a proxy that changes Host.

    Raises:
        RefusedError: ``Origin`` or ``Sec-Fetch-Site`` names another site.
    """
    own = {origin.lower() for origin in trusted}
    for origin in _values(scope, b"origin"):
        if origin.lower() not in own and _authority(origin) != _authority_of_host(origin, host):
            raise RefusedError(403, "requests of another site's pages are not answered")
    sites = _values(scope, b"sec-fetch-site")
    if all(site in {"same-origin", "none"} for site in sites) or _trusted_origin(scope, own):
        return
    if not _is_navigation(scope):
        raise RefusedError(403, "requests of another site's pages are not answered")


def _trusted_origin(scope: Scope, own: set[str]) -> bool:
    origins = _values(scope, b"origin")
    return bool(origins) and all(origin.lower() in own for origin in origins)


def _is_navigation(scope: Scope) -> bool:
    """Whether a person is opening the answer as a page of its own."""
    return (
        scope["type"] == "http"
        and scope["method"] in SAFE_METHODS
        and _values(scope, b"sec-fetch-mode") == ["navigate"]
        and _values(scope, b"sec-fetch-dest") == ["document"]
    )


def _values(scope: Scope, header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == header]


def _authority(origin: str) -> tuple[str, int] | None:
    """Host and port of an origin; ``None`` for ``null`` and whatever else names no server."""
    scheme, _, host = origin.partition("://")
    found = _name_and_port(host)
    if found is None:
        return None
    name, port = found
    port = port or _DEFAULT_PORTS.get(scheme.lower())
    return (name, port) if port else None


def _name_and_port(host: str) -> tuple[str, int | None] | None:
    """Name or address, in lower case, and port of an authority without user; ``None`` when it is none.

    Not by ``urlsplit``, which reads ``[::1].evil.example`` as ``::1``.
    """
    found = _AUTHORITY.fullmatch(host)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else None
    if port is not None and port > _MAX_PORT:
        return None
    return (found["address"] or found["name"]).lower(), port


def _authority_of_host(origin: str, host: str) -> tuple[str, int] | str:
    """Host and port of a Host header as a page of ``origin`` would name them; a text when it has none."""
    return _authority(f"{origin.partition(':')[0]}://{host}") or "no authority"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
