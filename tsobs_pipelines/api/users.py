"""The Tailscale user behind a connection.

The address of the socket's peer is looked up in the tailnet by the sidecar; nothing that a client sends is
used for this. The header that ``tailscale serve`` sets is trusted only from the address in
``TSOBS_TRUSTED_PROXY``. Beside a daemon in userspace mode peers come from that address as well, so the header
is trusted only with ``TSOBS_PROXY_SECRET``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from email.errors import HeaderParseError
from email.header import decode_header
from hmac import compare_digest
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from anyio import CapacityLimiter

from tsobs_pipelines.api.cache import Shared
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.errors import UnavailableError
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.tailnet.userspace import is_userspace, on_loopback, userspace_daemon_here

logger = logging.getLogger(__name__)

LOGIN_HEADER: Final = b"tailscale-user-login"
SECRET_HEADER: Final = b"tsobs-proxy-secret"
FUNNEL_HEADER: Final = b"tailscale-funnel-request"
TAGGED: Final = "tagged-devices"
"""What whois calls the user of a node that belongs to a tag and to no person."""

KNOWN_FOR_S = 60.0
UNKNOWN_FOR_S = 5.0
MAX_LOGIN = 320
"""Characters of the longest e-mail address (RFC 3696, erratum 1690)."""

Address = IPv4Address | IPv6Address
Headers = Iterable[tuple[bytes, bytes]]


class StrangerError(PermissionError):
    """The request may not be answered; the text says why."""


class _Logins(Shared[str, str | None]):
    """Logins by address; that nobody is known there is forgotten sooner."""

    def fresh_for(self, value: str | None) -> float:
        return KNOWN_FOR_S if value else UNKNOWN_FOR_S


def parse_address(text: str) -> Address | None:
    """The IP address, an IPv4 one also where it comes mapped into IPv6; ``None`` when it is no address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str) -> bool:
    """Whether listening on ``host`` reaches this machine only."""
    address = parse_address(host)
    return host == "localhost" if address is None else address.is_loopback


def users_required(settings: Settings) -> bool:
    """Whether a user is required: as the settings say, else whenever other machines can reach the API."""
    if settings.require_tailscale_user is not None:
        return settings.require_tailscale_user
    return not is_loopback(settings.api_host)


class Users:
    """Finds the login behind a request, and rejects requests without one where users are required."""

    def __init__(self, parts: Parts) -> None:
        """Read the rules from the settings."""
        # People come through the tailnet that the API listens in: the first one.
        self._sidecar = parts.sidecars[parts.settings.first_tailnet.name]
        self.required = users_required(parts.settings)
        self._proxy = _trusted_proxy(parts.settings.trusted_proxy)
        secret = parts.settings.proxy_secret
        self._secret = secret.get_secret_value().encode() if secret else None
        self._home = parts.settings.first_tailnet
        self._open_loopback = Shared[str, bool](
            self._is_loopback_open, fresh_s=KNOWN_FOR_S, stale_s=KNOWN_FOR_S, limiter=CapacityLimiter(1)
        )
        self._logins = _Logins(
            self._whois,
            fresh_s=KNOWN_FOR_S,
            stale_s=KNOWN_FOR_S,
            limiter=CapacityLimiter(4),
            size=1024,
        )

    async def login_of(self, peer: str | None, headers: Headers) -> str | None:
        """The login behind a request from the socket address ``peer``; ``None``: nobody of the tailnet.

        Raises:
            StrangerError: it came through Funnel, or has no user and users are required.
            UnavailableError: users are required, and the sidecar can't say who it is.
        """
        found = list(headers)
        if any(name == FUNNEL_HEADER for name, _ in found):
            msg = "requests through Tailscale Funnel are not answered"
            raise StrangerError(msg)
        address = parse_address(peer) if peer else None
        login = await self._login(address, found)
        if login is None and self.required:
            msg = "no Tailscale user behind this request; open the page from a device of the tailnet"
            raise StrangerError(msg)
        return login

    async def _login(self, address: Address | None, headers: list[tuple[bytes, bytes]]) -> str | None:
        if address is None:
            return None
        if address == self._proxy:
            if not await self._is_from_proxy(address, headers):
                return None
            return login_from_header([value for name, value in headers if name == LOGIN_HEADER])
        if address.is_loopback:
            return None  # another program of this machine: whois knows addresses of the tailnet only
        try:
            return await self._logins.get(str(address))
        except SidecarError as error:
            if self.required:
                raise UnavailableError(f"who asks can't be found out: {error}") from error
            logger.warning("who asks from %s can't be found out: %s", address, error)
            return None

    async def _is_from_proxy(self, address: Address, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request from the proxy's address is the proxy's.

        Beside a daemon in userspace mode, or one that can't be asked, anybody's request comes from loopback.
        """
        if self._secret is not None:
            given = [value for name, value in headers if name == SECRET_HEADER]
            return len(given) == 1 and compare_digest(given[0], self._secret)
        if not address.is_loopback:
            return True
        return not await self._open_loopback.get("")

    def _is_loopback_open(self, _key: str) -> bool:
        if userspace_daemon_here():
            return True
        if self._home.sidecar_url is None or not on_loopback(self._home.sidecar_url):
            return False
        try:
            return is_userspace(self._sidecar.get_tailscale_status())
        except SidecarError:
            return True

    def _whois(self, ip: str) -> str | None:
        found = self._sidecar.whois(ip)
        return None if found is None else _clean(found.login)


def login_from_header(values: list[bytes]) -> str | None:
    """The login in the header of ``tailscale serve``: once, MIME Q-encoded (RFC 2047) when not ASCII."""
    if len(values) != 1:
        return None
    try:
        parts = decode_header(values[0].decode("ascii"))
        text = "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii") for part, charset in parts
        )
    except (HeaderParseError, UnicodeError, LookupError, ValueError):
        return None
    return _clean(text)


def _clean(login: str) -> str | None:
    login = login.strip()
    fits = 0 < len(login) <= MAX_LOGIN and login.isprintable() and login != TAGGED
    return login if fits else None


def _trusted_proxy(text: str | None) -> Address | None:
    return None if text is None else parse_address(text)
