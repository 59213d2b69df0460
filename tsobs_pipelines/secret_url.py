"""URLs that may contain credentials: masked wherever they are shown, in clear only on request.

A user and a password may stand before the host, a token in the query. What is shown of an address is its
scheme, host, port and path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote

from pydantic import Secret

MASK = "[redacted]"

_SHORTEST_TOKEN = 8
"""A user without a password, or a value of a query, may be a token or a word: shorter ones are words."""

_SECRET_NAMES = frozenset({"pass", "password", "pwd", "secret", "token", "apikey", "key"})

_SHORTEST_KEY = 16
"""A user with a password may be a key: shorter ones are names."""

_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+._-]*(?:::?[A-Za-z][A-Za-z0-9+._-]*)*)://"
    r"(?P<place>[^/?#&;=]*)(?P<path>[^?#&;=]*)(?P<query>.*)",
    re.DOTALL,
)
"""An address, also one behind the name of a price source. Its query may have lost its question mark."""

_PLACE = re.compile(r"(?P<login>.*@)?(?P<host>(?:[\w.-]*|\[[\w.:%-]+\])(?::\d{1,5})?)", re.DOTALL)


def masked(text: str) -> str:
    """An address, or what was meant to be one, without anything in it that may be a secret.

    A password may hold each of ``/ ? # @``, and so may a token: where an ``@`` comes later than the host
    nobody can tell where the host is, and only the scheme is shown.
    """
    if "://" not in text:
        return text
    address = _ADDRESS.fullmatch(text)
    if address is None:
        return MASK
    place = _PLACE.fullmatch(address["place"])
    if place is None or "@" in address["path"] + address["query"]:
        return f"{address['scheme']}://{MASK}"
    login = f"{MASK}@" if place["login"] else ""
    query = f"?{MASK}" if address["query"] else ""
    return f"{address['scheme']}://{login}{place['host']}{address['path']}{query}"


def scheme_and_host(text: str) -> str:
    """The scheme and the host of an address that is refused; empty where no such parts can be told."""
    address = _ADDRESS.fullmatch(text)
    if address is None:
        return ""
    place = _PLACE.fullmatch(address["place"])
    rest = address["path"] + address["query"]
    if place is None or not place["host"] or "@" in rest:
        return f"{address['scheme']}://{MASK}"
    return (
        f"{address['scheme']}://{f'{MASK}@' if place['login'] else ''}{place['host']}{'/…' if rest else ''}"
    )


def below(address: SecretUrl | str, path: str) -> str:
    """The address to connect to of a path under this one, whose query goes to the end."""
    place, mark, query = clear(address).partition("?")
    return f"{place.rstrip('/')}{path}{mark}{query}"


class SecretUrl(Secret[str]):
    """An address whose text is masked; ``get_secret_value()`` is what to connect to."""

    def _display(self) -> str:
        return masked(self.get_secret_value())

    def credentials(self) -> tuple[str, ...]:
        """The parts of the address that are secrets, as they stand there and decoded."""
        text = self.get_secret_value()
        rest = text.partition("://")[2]
        # A password may hold what ends the host of another address.
        logins = dict.fromkeys(part.rpartition("@")[0] for part in (rest, re.split("[/?#]", rest)[0]))
        found = [secret for login in logins for secret in _secrets_of(login)]
        for pairs in re.split("[?#]", rest)[1:]:
            for name, value in parse_qsl(pairs):
                if len(value) >= _SHORTEST_TOKEN or name.lower() in _SECRET_NAMES:
                    found.append(value)
        return _also_decoded(found)


def _secrets_of(login: str) -> list[str]:
    user, colon, password = login.partition(":")
    return [password] if colon else [user] if len(user) >= _SHORTEST_TOKEN else []


class CapabilityUrl(SecretUrl):
    """An address that is a secret as a whole, as those of heartbeat services are: its path opens it."""

    def _display(self) -> str:
        scheme, _, rest = masked(self.get_secret_value()).partition("://")
        host = re.split("[/?#]", rest)[0]
        return f"{scheme}://{MASK}" if host == MASK else f"{scheme}://{host}/{MASK}"

    def credentials(self) -> tuple[str, ...]:
        """All of the path as well."""
        path = self.get_secret_value().partition("://")[2].partition("/")[2]
        parts = [part for part in (path, *path.split("/")) if len(part) >= _SHORTEST_TOKEN]
        return tuple(dict.fromkeys([*super().credentials(), *parts]))


_HOST_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\.)+[a-z]{2,20}|localhost")


def _is_host(text: str) -> bool:
    """Whether it can't be a token: many services have one where other addresses have the host."""
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        return (ip_address(text.strip("[]")).version == 6) is bracketed
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None


class SecretTarget(SecretUrl):
    """The address of a notification service, in Apprise's form: a token may stand in each of its parts."""

    @property
    def scheme(self) -> str:
        """The service."""
        return self.get_secret_value().partition("://")[0].lower()

    @property
    def name(self) -> str:
        """Names the address without its secrets: scheme, host if it is one, and a digest.

        The digest leaves passwords out, so that a new password does not make another address of it.
        """
        user, _, place, query = self._parts()
        open_pairs = [pair for pair in parse_qsl(query) if pair[0].lower() not in _SECRET_NAMES]
        known = f"{self.scheme}://{user}@{place}?{open_pairs}"
        host = [_host_of(place)] if _is_host(_host_of(place)) else []
        return "/".join([self.scheme, *host, sha256(known.encode()).hexdigest()[:8]])

    def _parts(self) -> tuple[str, str, str, str]:
        """User, password, all from the host to the query, and the query; an ``@`` may stand in the last."""
        before, _, query = self.get_secret_value().partition("://")[2].partition("?")
        login, _, place = before.rpartition("@")
        user, _, password = login.partition(":")
        return user, password, place, query

    def _display(self) -> str:
        return f"{self.scheme}://{MASK}"

    def credentials(self) -> tuple[str, ...]:
        """Passwords, and whatever is long enough to be a token, in the place of the host as well."""
        user, password, place, query = self._parts()
        host, path, pairs = _host_of(place), place.partition("/")[2], parse_qsl(query)
        long = [*path.split("/"), path, *(value for _, value in pairs)]
        long += [user] if not password or len(user) >= _SHORTEST_KEY else []
        long += [] if _is_host(host) else [host]
        short = [password, *(value for name, value in pairs if name.lower() in _SECRET_NAMES)]
        found = short + [part for part in long if len(part) >= _SHORTEST_TOKEN]
        return _also_decoded(found)


def _also_decoded(found: Iterable[str]) -> tuple[str, ...]:
    """Each part as it stands and percent-decoded, once, without empty ones."""
    return tuple(dict.fromkeys(part for one in found for part in (one, unquote(one)) if part))


def _host_of(place: str) -> str:
    return re.sub(r":\d{1,5}$", "", re.split("[/#]", place)[0])


def clear(address: SecretUrl | str) -> str:
    """The address to connect to."""
    return address.get_secret_value() if isinstance(address, SecretUrl) else address
