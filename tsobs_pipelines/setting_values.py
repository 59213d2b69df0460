"""Types that parse single values of the environment and of files, with clear errors.

Which variable has which is in ``settings.py`` and ``tailnet_settings.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

from tsobs_pipelines.price_sources import chosen_source
from tsobs_pipelines.secret_url import MASK, CapabilityUrl, SecretTarget, SecretUrl, scheme_and_host
from tsobs_pipelines.setting_addresses import (
    MAX_NAME,
    MAX_PORT,
    api_url,
    http_url,
    link,
    listen_address,
    proxy_address,
)
from tsobs_pipelines.setting_database import database_url

MAX_PATH: Final = 4095
MAX_TOKEN: Final = 4096
"""Characters of a secret that travels in a header."""
SHOWN: Final = 80
"""Characters of a bad value that are shown."""

_EARLIEST: Final = date(2000, 1, 1)
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:::[A-Za-z][A-Za-z0-9+.-]*)*://")


def shown_value(value: object, most: int = SHOWN) -> str:
    """A bad value as an error may repeat it: on one line, cut, and without the credentials of an address."""
    text = value if isinstance(value, str) else repr(value)
    if "://" in text:
        shown = scheme_and_host(text) or MASK
    elif "@" in text and not re.match(r"\.?/(?!/)", text):
        shown = MASK  # an address without its scheme
    else:
        shown = re.sub(r"\?.*", "?…", text, flags=re.DOTALL)
    quoted = repr(shown) if isinstance(value, str) else shown
    return quoted if len(quoted) <= most else f"{quoted[:most]}… ({len(text)} characters)"


@dataclass(frozen=True)
class ShownPart:
    """What of a refused value an error may repeat, as metadata of its type."""

    part: Literal["nothing", "address", "place", "source"]

    def of(self, value: object) -> str:
        """``=`` and what may be shown; empty when that is nothing."""
        text = value if isinstance(value, str) and self.part != "nothing" else ""
        shown = scheme_and_host(text)
        shown = "" if ":" in shown.partition("://")[0] else shown
        if self.part == "address" and re.fullmatch(r"[A-Za-z0-9.-]+:\d{1,5}", text, re.ASCII):
            shown = text  # host and port without a scheme: what follows the colon is too short for a secret
        if self.part == "place" and re.match(r"(?:\.?/(?!/)|~|[^:@?#&;=\\]*$)", text):
            shown = text
        if self.part == "source" and not shown:
            key, colon, argument = text.partition(":")
            shown = f"{key}{colon}{'…' if argument else ''}" if re.fullmatch("[A-Za-z]{1,20}", key) else ""
        return f"={shown_value(shown)}" if shown else ""


def shown_of(field: FieldInfo | None, value: object) -> str:
    """``=`` and the bad value of a field, as far as the field's type lets it be shown."""
    if field is None:
        return f"={shown_value(value)}"
    found = [part for part in (*field.metadata, *_parts(field.annotation)) if isinstance(part, ShownPart)]
    return found[0].of(value) if found else f"={shown_value(value)}"


def _parts(annotation: object) -> Iterator[object]:
    for part in get_args(annotation):
        yield part
        yield from _parts(part)


def _secret_http_url(value: object) -> object:
    return SecretUrl(api_url(value)) if isinstance(value, str) else value


def _capability(value: object) -> object:
    return CapabilityUrl(http_url(value)) if isinstance(value, str) else value


def _targets(value: object) -> object:
    if not isinstance(value, str):
        return value
    # A comma may also stand within an address: between recipients.
    found = [SecretTarget(text) for text in re.split(r"\s+|,(?=\s|[A-Za-z0-9]+://|$)", value.strip()) if text]
    for position, target in enumerate(found, 1):
        text = target.get_secret_value()
        if not re.fullmatch(r"[A-Za-z0-9]+://[^\s]+", text) or not text.isprintable():
            msg = f"entry {position}: expected an address such as mailto://… or ntfy://…"
            raise ValueError(msg)
        if target.name in {other.name for other in found[: position - 1]}:
            msg = f"entry {position}: the same address as one before it"
            raise ValueError(msg)
    return tuple(found)


def _place(value: object) -> object:
    if not isinstance(value, str):
        return value
    _check_path(value)
    _check_place(value)
    return SecretUrl(value)


def _check_place(text: str) -> None:
    # What was meant to be an address may hold a password, which a path would show.
    if ":" in text.partition("/")[0] and not _PLACE.match(text):
        msg = "expected a path or an address with ://; a path may have a colon if it begins with ./"
        raise ValueError(msg)


def _text(value: str) -> str:
    if len(value) > MAX_NAME or not value.isprintable():
        msg = f"expected at most {MAX_NAME} printable characters"
        raise ValueError(msg)
    return value


def _token(value: object) -> object:
    # It goes into a header or an address: with a line end or a blank at its end each request would fail.
    if isinstance(value, str) and not (
        value.isascii() and value.isprintable() and value == value.strip() and len(value) <= MAX_TOKEN
    ):
        msg = f"expected printable characters of ASCII, at most {MAX_TOKEN}, without blanks at the ends"
        raise ValueError(msg)
    return _given(value)


def _zone(value: str) -> str:
    try:
        # Files of the database that are no place's time: leap seconds counted, nobody's, this machine's.
        if value.startswith("right/") or value in {"Factory", "localtime", "posixrules"}:
            raise KeyError(value)
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        msg = "expected a time zone name such as Europe/Madrid"
        raise ValueError(msg) from error
    return value


def _country(value: str) -> str:
    table = (files("tzdata") / "zoneinfo" / "iso3166.tab").read_text("utf-8")
    known = {line.partition("\t")[0] for line in table.splitlines() if not line.startswith("#")}
    if not value.isascii() or value.upper() not in known:
        msg = "expected a country by its two letters, such as ES"
        raise ValueError(msg)
    return value.upper()


def _price_source(value: str) -> str:
    if (chosen := chosen_source(value)).kind.key == "csv":
        _check_place(chosen.argument)
    return value


def _source_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", value):
        msg = "expected at most 100 letters, digits, dots, hyphens and underscores"
        raise ValueError(msg)
    return value


def _names(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = tuple(name for name in re.split(r"[\s,]+", value) if name)
    if not names:
        msg = "expected names separated by commas"
        raise ValueError(msg)
    return tuple(dict.fromkeys(names))


def _node(value: str) -> str:
    if not 0 < len(value) <= MAX_NAME or not value.isprintable():
        msg = f"expected names of nodes of at most {MAX_NAME} printable characters"
        raise ValueError(msg)
    return value


def _iso_date(value: object) -> object:
    # The type itself would take a count of seconds, and a time at midnight.
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        msg = "expected a valid date, YYYY-MM-DD"
        raise ValueError(msg)
    return value


def _start_date(value: date) -> date:
    if value < _EARLIEST:
        msg = f"expected a date from {_EARLIEST} on"
        raise ValueError(msg)
    return value


def _path(value: object) -> object:
    # As it was written: a Path leaves out ./ at its beginning.
    if isinstance(value, str):
        _check_path(value)
    return value


def _check_path(text: str) -> None:
    # Not isprintable(): bytes of a name in another encoding are characters that are not.
    if len(text) > MAX_PATH or _CONTROL.search(text) or not text.strip():
        msg = f"expected a path of at most {MAX_PATH} characters without control characters"
        raise ValueError(msg)
    check_home(text)


def check_home(text: str) -> None:
    """Refuse a path that only a shell would understand.

    Raises:
        ValueError: it begins with ``~``.
    """
    if text.removeprefix("file://").startswith("~"):
        msg = "expected a path without ~, which only a shell replaces: write the directory out, or ./~"
        raise ValueError(msg)


def _thresholds(value: object) -> object:
    if not isinstance(value, str):
        return value
    expected = "expected <node>=<milliseconds above 0>, separated by commas"
    result: dict[str, float] = {}
    for item in (part.strip() for part in value.split(",")):
        if not item:
            continue
        name, _, number = item.partition("=")
        name = name.strip()
        try:
            milliseconds = float(number)
            fits = 0 < milliseconds < float("inf") and not re.search(r"\s", _node(name))
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{expected}, not {shown_value(item)}")
        if name in result:
            raise ValueError(f"{expected}, and {shown_value(name)} is there twice")
        result[name] = milliseconds
    return result


def _no_switch(value: object) -> object:
    if isinstance(value, bool):
        msg = "expected a number"
        raise ValueError(msg)
    return value


def _given(value: object) -> object:
    # An empty variable counts as unset, and so does an empty file of a secret that isn't there yet.
    return None if value == "" else value


def _database(value: object) -> object:
    return SecretUrl(database_url(value)) if isinstance(value, str) else value


def _postgres(value: SecretUrl | None) -> SecretUrl | None:
    if value is not None and not value.get_secret_value().startswith("postgresql"):
        msg = "expected postgresql://<user>:<password>@<host>:<port>/<name>"
        raise ValueError(msg)
    return value


HttpUrl = Annotated[SecretUrl, ShownPart("address"), BeforeValidator(_secret_http_url)]
"""An address of HTTP to connect to, without a slash at its end; it may hold credentials."""

HeartbeatUrl = Annotated[CapabilityUrl, ShownPart("nothing"), BeforeValidator(_capability)]

NotifyUrls = Annotated[tuple[SecretTarget, ...], ShownPart("nothing"), NoDecode, BeforeValidator(_targets)]
"""Addresses of notification services, separated by spaces or commas."""

LinkUrl = Annotated[str, ShownPart("address"), AfterValidator(link)]
"""An address for people, without a slash at its end."""

Place = Annotated[SecretUrl, ShownPart("place"), BeforeValidator(_place)]
"""A path, or an address of fsspec, which may hold credentials."""

Secret = Annotated[SecretStr | None, ShownPart("nothing"), BeforeValidator(_token)]
Text = Annotated[str, AfterValidator(_text)]
DatabaseUrl = Annotated[
    SecretUrl | None, ShownPart("address"), BeforeValidator(_database), BeforeValidator(_given)
]
PostgresUrl = Annotated[DatabaseUrl, AfterValidator(_postgres)]
ListenAddress = Annotated[str, AfterValidator(listen_address)]
IpAddress = Annotated[str, AfterValidator(proxy_address)]
StartDate = Annotated[date, BeforeValidator(_iso_date), AfterValidator(_start_date)]
LocalPath = Annotated[Path, BeforeValidator(_path)]
Port = Annotated[int, Field(ge=1, le=MAX_PORT)]
ThreadId = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""A topic of a chat; the Bot API has 32 bits for it, and 1 is the general one."""
Milliseconds = Annotated[float, BeforeValidator(_no_switch), Field(gt=0, allow_inf_nan=False)]
TimeZone = Annotated[str, AfterValidator(_zone)]
SourceName = Annotated[str, AfterValidator(_source_name)]
Country = Annotated[str, AfterValidator(_country)]
PriceSource = Annotated[str, ShownPart("source"), AfterValidator(_price_source)]

NodeName = Annotated[str, AfterValidator(_node)]

Names = Annotated[tuple[NodeName, ...], NoDecode, BeforeValidator(_names)]
"""Names separated by commas or spaces, each once."""

Thresholds = Annotated[dict[str, float], NoDecode, BeforeValidator(_thresholds)]
"""Milliseconds by name: ``git=150,printer=400``."""
