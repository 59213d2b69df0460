"""Message text for Telegram: escaping, links, length, and the plain-text form.

Source of the rules: https://core.telegram.org/bots/api#formatting-options and #sendmessage (1 to 4096
characters after entities parsing; lengths are in UTF-16 code units).
"""

from __future__ import annotations

import html
import re
import unicodedata
from ipaddress import IPv4Address
from urllib.parse import urlsplit

LIMIT = 4096

_LABEL = re.compile(r"[^\W_](?:[\w-]*\w)?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_DOMAINS = frozenset({"localhost", "localdomain"})

_TAG = re.compile(r"<[^<>]*>")


def clean(text: str, longest: int = 400) -> str:
    """``text`` on one line, without control characters, bidi marks and lone surrogates, truncated."""
    kept = "".join(
        " " if char in "\r\n\t" else char
        for char in text
        if char in "\r\n\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs"}
    )
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def escape(text: str) -> str:
    """``text`` as it must stand in a message sent with parse mode HTML."""
    return html.escape(clean(text), quote=False)


def followed(url: str) -> bool:
    """Whether Telegram's clients follow a link to ``url``.

    Telegram's clients drop links to hosts without a dot, of which only the label stays, and no phone finds
    tsobs on its own loopback. What is no proper URL is not followed either.
    """
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        return False
    labels = host.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]) or ":" in host:
        return _is_followed_address(host)
    return len(labels) > 1 and all(map(_LABEL.fullmatch, labels)) and labels[-1] not in _LOCAL_DOMAINS


def _is_followed_address(host: str) -> bool:
    """Of the addresses only IPv4 in four parts; browsers read ``127.1`` and ``0x7f.1`` as loopback."""
    try:
        address = IPv4Address(host)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def link(label: str, url: str) -> str:
    """A link, where the reader can follow it; else label and address as text. The label is plain text."""
    if not followed(url):
        return f"{escape(label)}: {escape(url)}"
    return f'<a href="{html.escape(url, quote=True)}">{escape(label)}</a>'


def plain(message: str) -> str:
    """What a person reads of an HTML message; link targets follow their labels."""
    shown = re.sub(r'<a href="([^"]*)">([^<]*)</a>', r"\2: \1", message)
    return html.unescape(_TAG.sub("", shown))


def without_links(message: str) -> str:
    """The plain text of an HTML message without the lines that hold links, or addresses written out."""
    return "\n".join(line for line in plain(message).splitlines() if "://" not in line)


def length(message: str) -> int:
    """The length of an HTML message in UTF-16 code units, after entities parsing or as :func:`plain`.

    The larger of the two: a message that Telegram can't parse is sent as plain text, where links are longer.
    """
    return max(_units(html.unescape(_TAG.sub("", message))), _units(plain(message)))


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str) -> str:
    """Plain text that is no longer than Telegram takes; an ellipsis ends what was cut."""
    if _units(text) <= LIMIT:
        return text
    kept = text.encode("utf-16-le", "surrogatepass")[: 2 * (LIMIT - 1)].decode("utf-16-le", "ignore")
    return f"{kept}…"


def fit(head: str, lines: list[str], foot: str) -> str:
    """Head, as many lines as there is room for, and foot; a line says how many were left out."""
    for kept in range(len(lines), -1, -1):
        left_out = len(lines) - kept
        more = [f"… and {left_out} more"] if left_out else []
        message = "\n".join(part for part in (head, *lines[:kept], *more, foot) if part)
        if length(message) <= LIMIT:
            return message
    return "\n".join(part for part in (head, f"… {len(lines)} changes") if part)
