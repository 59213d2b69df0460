"""URLs that may contain credentials: masked wherever they are shown, in clear only on request.

A user and a password may stand before the host, a token in the query. What is shown of an address is its
scheme, host, port and path.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Secret

MASK = "[redacted]"

_SHORTEST_TOKEN = 8
"""A user without a password, or a value of a query, may be a token or a word: shorter ones are words."""

_CREDENTIALS = re.compile(r"://.*@", re.DOTALL)
_QUERY = re.compile(r"[?#].*", re.DOTALL)


def masked(text: str) -> str:
    """An address, or what was meant to be one, without anything in it that may be a secret.

    Greedy: a password may hold each of ``/ ? # @``, and then the text is no address that a parser knows.
    """
    if "://" not in text:
        return text
    return _QUERY.sub(f"?{MASK}", _CREDENTIALS.sub(f"://{MASK}@", text))


class SecretUrl(Secret[str]):
    """An address whose text is masked; ``get_secret_value()`` is what to connect to."""

    def _display(self) -> str:
        return masked(self.get_secret_value())

    def credentials(self) -> tuple[str, ...]:
        """The parts of the address that are secrets, as they stand there and decoded."""
        text = self.get_secret_value()
        before, at, _ = text.partition("://")[2].rpartition("@")
        user, colon, password = before.partition(":") if at else ("", "", "")
        found = [password] if colon else [user] if len(user) >= _SHORTEST_TOKEN else []
        try:
            query = urlsplit(text).query
        except ValueError:
            query = text.partition("?")[2]
        found += [value for _, value in parse_qsl(query) if len(value) >= _SHORTEST_TOKEN]
        return tuple(dict.fromkeys(part for one in found for part in (one, unquote(one)) if part))


class CapabilityUrl(SecretUrl):
    """An address that is a secret as a whole, as those of heartbeat services are: its path opens it."""

    def _display(self) -> str:
        scheme, _, rest = masked(self.get_secret_value()).partition("://")
        return f"{scheme}://{re.split('[/?#]', rest)[0]}/{MASK}"

    def credentials(self) -> tuple[str, ...]:
        """All of the path as well."""
        path = self.get_secret_value().partition("://")[2].partition("/")[2]
        parts = [part for part in (path, *path.split("/")) if len(part) >= _SHORTEST_TOKEN]
        return tuple(dict.fromkeys([*super().credentials(), *parts]))


def clear(address: SecretUrl | str) -> str:
    """The address to connect to."""
    return address.get_secret_value() if isinstance(address, SecretUrl) else address
