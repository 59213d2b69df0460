"""Masks secrets in the logs: those of the settings by value, others by their format.

The configured values are looked for as they are and as URLs, JSON, HTML and ``repr`` would write them.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet_settings import read_token

MASK = "[redacted]"

SHORTEST_SECRET = 4
"""Shorter values are not looked for: masking each ``a`` would hide the log, not the secret."""

_NAMES = r"[\w-]*(?:authorization|password|token|secret|api[_-]?key|cookie)"
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)

_FORMS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    # Each form with words of which one must be there before the slower pattern is tried.
    (("bot",), re.compile(r"(?i)\bbot(?:\d|%3\d){5,}(?::|%3A)[\w%-]{8,}"), f"bot{MASK}"),
    ((":AA",), re.compile(r"\b\d{6,}:AA[\w-]{16,}"), MASK),
    (
        ("uthorization", "UTHORIZATION"),
        re.compile(
            r"""(?i)(authorization\\*["']?\s*[:=,]\s*\(?(?:b?\\*["'])?)"""
            r"""((?:bearer|basic|token|digest)\s+)?[^\s"'\\,;)}\]]+"""
        ),
        rf"\g<1>\g<2>{MASK}",
    ),
    (("earer ", "EARER "), re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{6,}"), rf"\g<1>{MASK}"),
    (("://",), re.compile(r"(://[^\s/:@\"'\\?#]*:)[^\s/\"'\\]+(?=@)"), rf"\g<1>{MASK}"),
    (
        ("oken=", "assword=", "pikey=", "pi_key=", "ecret=", "uthkey="),
        re.compile(r"""(?i)\b((?:[a-z]+_)?(?:token|password|api_?key|secret|auth-?key)=)[^\s&"'\\,;)]+"""),
        rf"\g<1>{MASK}",
    ),
    (
        ("assword", "oken", "ecret", "pi_key", "pi-key", "ookie"),
        re.compile(rf"""(?i)(\\*["']{_NAMES}\\*["']\s*[:=,]\s*b?\\*["'])[^"'\\]+"""),
        rf"\g<1>{MASK}",
    ),
    (("tskey-",), re.compile(r"\btskey-[\w-]+"), f"tskey-{MASK}"),
    (("privkey:",), re.compile(r"\bprivkey:\w+"), f"privkey:{MASK}"),
    (("login.tailscale.com/",), re.compile(r"(login\.tailscale\.com/\w+/)[\w-]+"), rf"\g<1>{MASK}"),
)


def _writings(secret: str) -> set[str]:
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
    }


class Redactor:
    """Masks the given secrets, and everything that has the form of one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _writings(secret)}
        # The longest first: one secret may hold another.
        self._secrets = sorted(found, key=lambda text: (-len(text), text))

    @classmethod
    def of(cls, settings: Settings) -> Redactor:
        """A redactor that knows the secrets of these settings, and the sidecar's token from its file."""
        return cls([*settings.secrets(), *_tokens(settings)])

    def clean(self, text: str) -> str:
        """``text`` with every secret masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        for words, pattern, mask in _FORMS:
            for word in words:
                if word in text:
                    text = pattern.sub(mask, text)
                    break
        return text


def names_secret(key: str) -> bool:
    """Whether a field or header of this name holds a secret."""
    return _SECRET_NAME.fullmatch(key) is not None


def _tokens(settings: Settings) -> list[str]:
    found: list[str] = []
    for tailnet in settings.tailnets:
        if tailnet.sidecar_token_file is not None:
            with contextlib.suppress(OSError, ValueError):
                found.append(read_token(tailnet.sidecar_token_file))
    return found
