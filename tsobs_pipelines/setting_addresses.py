"""Checks of addresses in settings: hosts, HTTP, links for people, and what the API listens on."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

MAX_NAME: Final = 253
"""Characters of the longest DNS name (RFC 1035)."""
MAX_ADDRESS: Final = 4095
MAX_PORT: Final = 65_535

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_FOUR_NUMBERS = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_NUMBER = re.compile(r"\d+|0[xX][0-9A-Fa-f]*", re.ASCII)
_PLACE = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>\d*))?", re.ASCII)
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_HTTP: Final = "expected an http:// or https:// address"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_BROADCAST: Final = IPv4Address("255.255.255.255")


def host_name(name: str) -> str:
    """The name of a host as DNS has it, in lower case; other alphabets are encoded (IDNA 2008).

    Raises:
        ValueError: it has none that a client could look up.
    """
    name = name.lower()
    if not name.isascii() or name.startswith("xn--"):
        import idna  # noqa: PLC0415 - its tables are large, and few have such names

        try:
            name = idna.encode(name).decode("ascii")
            # The HTTP client decodes a name that begins like this, and fails where it can't.
            idna.decode(name)
        except UnicodeError:
            msg = "expected the name of a host"
            raise ValueError(msg) from None
    labels = name.removesuffix(".").split(".")
    if len(name) > MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        msg = f"expected the name of a host: labels of 1 to 63 characters, {MAX_NAME} in all"
        raise ValueError(msg)
    if _FOUR_NUMBERS.fullmatch(name):
        ip_address(name)
    return name


def http_url(value: str) -> str:
    """An address that the HTTP clients can connect to, without a slash at its end.

    Raises:
        ValueError: the text says what was expected.
    """
    _split(value)
    return value if "?" in value or "#" in value else value.rstrip("/")


def api_url(value: str) -> str:
    """An address to which paths are appended, without a slash at its end; a query stays at the end.

    Raises:
        ValueError: the text says what was expected.
    """
    _split(value)
    if "#" in value:
        raise ValueError(f"{_HTTP} without a fragment (#)")
    place, _, query = value.partition("?")
    return f"{place.rstrip('/')}?{query}" if query else place.rstrip("/")


def link(value: str) -> str:
    """An address for people, as browsers write it in ``Host`` and ``Origin``, without a slash at its end.

    Raises:
        ValueError: the text says what was expected.
    """
    parts = _split(value)
    if "@" in parts.netloc or "?" in value or "#" in value:
        msg = "expected an address that can be shown, without user, password, query and fragment"
        raise ValueError(msg)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{ip_address(host)}]"
    else:
        host = host_name(host)
        # Browsers read these as IPv4, whatever their form.
        if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
            host = str(_ip_address(host))
    port = "" if parts.port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def _split(value: str) -> SplitResult:
    # The parser would drop line ends, and a request would hold them.
    if not value.isprintable() or " " in value or "\\" in value:
        raise ValueError(f"{_HTTP} without spaces, control characters and backslashes")
    if len(value) > MAX_ADDRESS:
        raise ValueError(f"{_HTTP} of at most {MAX_ADDRESS} characters")
    try:
        parts = urlsplit(value)
        place = _PLACE.fullmatch(parts.netloc.rpartition("@")[2])
        port = parts.port
    except ValueError:
        raise ValueError(_HTTP) from None
    if parts.scheme not in _DEFAULT_PORTS or port == 0 or place is None:
        raise ValueError(_HTTP)
    try:
        if place["address"]:
            IPv6Address(place["address"])
        else:
            host_name(place["name"])
    except ValueError as error:
        raise ValueError(f"{_HTTP}, and in it {error}") from None
    return parts


def listen_address(value: str) -> str:
    """An address to listen on: a name, or an IP address in its usual form.

    Raises:
        ValueError: nothing can listen there.
    """
    msg = "expected an IP address or a host name without a port, such as 127.0.0.1 or ::1"
    try:
        address = _ip_address(value)
    except ValueError:
        if not _HOST_NAME.fullmatch(value):
            raise ValueError(msg) from None
        return host_name(value)
    if address.is_multicast or address == _BROADCAST:
        msg = "expected an address of this machine, not one of a group"
        raise ValueError(msg)
    if getattr(address, "scope_id", None):
        msg = "expected an IP address without a zone"
        raise ValueError(msg)
    return str(address)


def proxy_address(value: str) -> str:
    """The IP address of one other program, in its usual form.

    Raises:
        ValueError: it is none, or stands for several.
    """
    msg = "expected the IP address of one proxy"
    try:
        address = _ip_address(value)
    except ValueError:
        raise ValueError(msg) from None
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise ValueError(msg)
    return str(address)


def _ip_address(text: str) -> IPv4Address | IPv6Address:
    """The address; an IPv4 one also where it is written as one of IPv6."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
