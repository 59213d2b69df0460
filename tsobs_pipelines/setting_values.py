"""How single values of the environment and of files are read: types that say what they expected.

What belongs here: the types. What does not: which variable has which (``settings.py``, ``tailnets.py``).
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "expected an http:// or https:// address"
        raise ValueError(msg)
    return value.rstrip("/")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        msg = "expected a time zone name such as Europe/Madrid"
        raise ValueError(msg) from error
    return value


def _country(value: str) -> str:
    table = (files("tzdata") / "zoneinfo" / "iso3166.tab").read_text("utf-8")
    known = {line.partition("\t")[0] for line in table.splitlines() if not line.startswith("#")}
    if value.upper() not in known:
        msg = "expected a country by its two letters, such as ES"
        raise ValueError(msg)
    return value.upper()


def _price_source(value: str) -> str:
    if value in {"demo", "redata", "redata:pvpc"} or (value.startswith("csv:") and len(value) > len("csv:")):
        return value
    msg = "expected demo, redata, redata:pvpc or csv:<path>"
    raise ValueError(msg)


def _names(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = tuple(name for name in re.split(r"[\s,]+", value) if name)
    if not names:
        msg = "expected names separated by commas"
        raise ValueError(msg)
    return tuple(dict.fromkeys(names))


def _thresholds(value: object) -> object:
    if not isinstance(value, str):
        return value
    result: dict[str, float] = {}
    for item in (part.strip() for part in value.split(",")):
        if not item:
            continue
        name, _, number = item.rpartition("=")
        try:
            result[name.strip()] = float(number)
        except ValueError:
            name = ""
        if not name.strip() or not 0 < result[name.strip()] < float("inf"):
            msg = f"expected <node>=<milliseconds above 0>, separated by commas, not {item!r}"
            raise ValueError(msg)
    return result


def _given(value: object) -> object:
    # An empty variable counts as unset, and so does an empty file of a secret that isn't there yet.
    return None if value == "" else value


def _with_driver(value: object) -> object:
    # Without a driver SQLAlchemy 2.1 takes one that neither Dagster nor tsobs brings.
    return (
        re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg2://", value) if isinstance(value, str) else value
    )


HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An address, without a slash at its end."""

Secret = Annotated[SecretStr | None, BeforeValidator(_given)]
DatabaseUrl = Annotated[SecretStr | None, BeforeValidator(_given), BeforeValidator(_with_driver)]
Port = Annotated[int, Field(ge=1, le=65535)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Country = Annotated[str, AfterValidator(_country)]
PriceSource = Annotated[str, AfterValidator(_price_source)]

Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
"""Names separated by commas or spaces, each once."""

Thresholds = Annotated[dict[str, float], NoDecode, BeforeValidator(_thresholds)]
"""Milliseconds by name: ``git=150,printer=400``."""
