"""What depends on a market's country: its holidays, and the publication time of its day-ahead auction."""

from __future__ import annotations

from datetime import date, time
from functools import lru_cache
from importlib.resources import files

COUPLED = frozenset(
    "AT BE BG CZ DE DK EE ES FI FR GR HR HU IT LT LU LV NL NO PL PT RO SE SI SK".split()  # noqa: SIM905 - a table
)
"""Countries of the single day-ahead coupling, whose one auction has one time of publication."""

COUPLED_PUBLICATION = (time(12, 45), "Europe/Brussels")
"""The coupling's preliminary results; OMIE publishes them at 12:45 as well."""

PUBLICATIONS: dict[str, tuple[time, str]] = {
    "GB": (time(9, 30), "Europe/London"),  # hourly auction, order book closed at 09:20
    "CH": (time(11, 10), "Europe/Zurich"),  # an auction of its own, order book closed at 11:00
}

USUAL_PUBLICATION = time(12, 45)
"""Elsewhere, in the market's zone."""


def publication_of(country: str | None) -> tuple[time, str | None]:
    """The time of day, and its zone (``None``: the market's), at which prices of the next day come out."""
    if country in COUPLED:
        return COUPLED_PUBLICATION
    return PUBLICATIONS.get(country or "", (USUAL_PUBLICATION, None))


@lru_cache(maxsize=64)
def holidays_of(country: str, year: int) -> frozenset[date]:
    """The national holidays; none for a country of which the library ``holidays`` knows nothing."""
    from holidays import country_holidays  # noqa: PLC0415 - 0.1 s

    try:
        return frozenset(country_holidays(country, years=year))
    except NotImplementedError:
        return frozenset()


@lru_cache(maxsize=64)
def country_of_zone(timezone: str) -> str | None:
    """The country that the zone lies in by the tz database; ``None`` for ``UTC``, ``CET`` and the like."""
    if "/" not in timezone:
        return None
    places = _places()
    if timezone in places:
        return places[timezone]
    # An older name, such as Asia/Calcutta, is a link to the newer one.
    for line in _table("tzdata.zi"):
        if line.startswith("L ") and line.split()[2] == timezone:
            return places.get(line.split()[1])
    return None


@lru_cache(maxsize=1)
def _places() -> dict[str, str]:
    rows = (line.split("\t") for line in _table("zone.tab") if not line.startswith("#"))
    return {row[2]: row[0] for row in rows}


def _table(name: str) -> list[str]:
    return (files("tzdata") / "zoneinfo" / name).read_text("utf-8").splitlines()
