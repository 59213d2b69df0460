"""Prices from files on the local disk or any file system of fsspec: CSV, or OMIE's formats (``omie.py``).

In a CSV file one column names the hour and one the price:

- ``time``, the start in RFC 3339 with an offset, of an hour or of a part of one; or ``date`` (YYYY-MM-DD) and
  ``hour``, whose labels are read as ``labels.py`` says.
- ``price_eur_per_mwh`` or ``price_eur_per_kwh``.

Columns are separated by commas, or by semicolons with decimal commas. Further columns are ignored. An empty
price, ``NULL``, ``n/a`` or ``-`` is an hour without one; a row that can't be read costs itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from tsobs_pipelines.forecasting.delivery import DAY, Market, market_of
from tsobs_pipelines.forecasting.prices import csv_rows, omie
from tsobs_pipelines.forecasting.prices.file_access import changed_at, failure_of, unpacked
from tsobs_pipelines.forecasting.prices.source import (
    ALL_DAYS,
    Fetched,
    PriceSourceError,
    PriceSourceSetupError,
    Probe,
)
from tsobs_pipelines.secret_url import MASK, SecretUrl, masked
from tsobs_pipelines.settings import Settings

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MAX_BYTES = 50_000_000
"""Of one file, unpacked: thirty years of quarter-hours fit in."""

GROWING = timedelta(hours=1)
"""A file changed more recently may be in the middle of being written."""

_MARGIN = 3 * DAY
"""Days beside those asked for that tell the span of prices."""

_OVER_HTTP = re.compile(r"https?://")


@dataclass(frozen=True, slots=True)
class PriceFile:
    """A file's name as it is shown, its whole rows, and a remark where its last row is left out."""

    name: str
    data: bytes
    left_out: str = ""


class CsvPrices:
    """The prices of files, reread at each fetch, so that appended rows are found."""

    days_a_request = ALL_DAYS

    def __init__(
        self,
        place: str,
        market: Market,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        name: str | None = None,
    ) -> None:
        """``place`` is a path or an fsspec URL; a ``*`` in it stands for several files."""
        self._place = place
        self._market = market
        self._clock = clock
        self._name = name or _name_of(place)

    @property
    def name(self) -> str:
        """``csv:`` and the name given, else the file's name with a digest of its whole place.

        Files of one name in two places are two sources; a password in a URL does not count.
        """
        return f"csv:{self._name}"

    def fetch(self, first: date, last: date) -> Fetched:
        """The files' prices of these days."""
        found = parse(self._files(), self._market, first, last)
        if found.failures and not found:
            raise found.failures[0].error
        return found

    def probe(self, day: date, timeout_s: float) -> Probe:
        """Read the files; how many prices of the day they have does not matter."""
        _ = timeout_s
        found = parse(self._files(), self._market, day, day)
        remarked = f"; rows that can't be read: {found.remarks[0]}" if found.remarks else ""
        return Probe(f"{self._shown} can be read{remarked}")

    def _files(self) -> Iterator[PriceFile]:
        """Each file's name and whole rows."""
        try:
            system, path = self._file_system()
            for one in self._paths(system, path):
                yield self._whole_rows(system, one, one if self._pattern else self._shown)
        except PriceSourceError:
            raise
        except Exception as error:  # noqa: BLE001 - each file system of fsspec has errors of its own
            raise failure_of(error, f"price file {self._shown}", self._told) from None

    def _file_system(self) -> tuple[AbstractFileSystem, str]:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - needed for this source only

        try:
            system, path = url_to_fs(self._place)
        except (ImportError, ValueError) as error:
            # fsspec's own text names the package that is lacking, or the protocol that nobody knows.
            raise PriceSourceSetupError(self._told(error)) from None
        return cast("AbstractFileSystem", system), str(path)

    @property
    def _pattern(self) -> bool:
        """Whether the place stands for several files; in a URL's query a ``*`` is one."""
        return "*" in (self._place.partition("?")[0] if _OVER_HTTP.search(self._place) else self._place)

    def _paths(self, system: AbstractFileSystem, path: str) -> list[str]:
        if not self._pattern:
            return [path]
        # Only * is a wildcard: what others fsspec knows are characters of a name.
        pattern = path if _OVER_HTTP.search(self._place) else re.sub(r"[?\[]", r"[\g<0>]", path)
        if paths := sorted(map(str, system.glob(pattern))):
            return paths
        raise PriceSourceError(f"price file {self._shown}: no file has such a name")

    def _whole_rows(self, system: AbstractFileSystem, path: str, shown: str) -> PriceFile:
        """The file without a last row that is still being written."""
        with cast("BinaryIO", system.open(path, "rb")) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) <= MAX_BYTES:
            data = unpacked(data, path, MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise PriceSourceError(f"price file {shown}: more than {MAX_BYTES // 10**6} MB")
        if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            raise PriceSourceError(f"price file {shown}: UTF-16, expected UTF-8")
        whole = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1]
        if whole in {data, b""}:
            return PriceFile(shown, data)
        changed = changed_at(self._place, system, path)
        if changed is not None and self._clock() - changed >= GROWING:
            return PriceFile(shown, data)
        when = (
            "when the file changed is not known"
            if changed is None
            else f"the file changed at {changed:%F %H:%M} UTC"
        )
        last = f"price file {shown}: the last row has no line end and is not read: {when}"
        return PriceFile(shown, whole, last)

    @property
    def _shown(self) -> str:
        return csv_rows.shortened(masked(self._place))

    def _told(self, error: BaseException) -> str:
        text = csv_rows.shortened(f"{type(error).__name__}: {error}".replace(self._place, self._shown))
        for secret in SecretUrl(self._place).credentials():
            text = text.replace(secret, MASK)
        return f"price file {self._shown}: {text}"


def open_csv(place: str, settings: Settings) -> CsvPrices:
    """The file or files that the setting names."""
    return CsvPrices(place, market_of(settings), name=settings.price_source_name)


def parse(files: Iterable[PriceFile], market: Market, first: date, last: date) -> Fetched:
    """The hourly prices of the days ``first`` to ``last``, in EUR/kWh, in the order of time.

    Raises:
        PriceSourceError: the columns are not those documented, or no row can be read; names the line.
    """
    start, end = market.start_of(first), market.end_of(last)
    table = csv_rows.Table(market, start - _MARGIN, end + _MARGIN)
    left_out: list[str] = []
    for file in files:
        left_out += [file.left_out] if file.left_out else []
        if omie.is_omie(file.data):
            table.timed.extend(omie.parse(csv_rows.text_of(file.data), market, file.name, table.remark))
        else:
            csv_rows.read(file.data, file.name, table)
    found = table.fetched(first, last)
    within = (point for point in found if start <= point.start < end)
    return Fetched(within, found.failures, (*found.remarks, *left_out[: csv_rows.REMARKS_KEPT]))


def _name_of(place: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", PurePosixPath(urlsplit(place).path).stem).strip("-._")
    return f"{plain[:60] or 'prices'}-{sha256(_identity(place).encode()).hexdigest()[:8]}"


def _identity(place: str) -> str:
    """What tells one place from another: a path however it is written, a URL without its user."""
    if "://" in place.removeprefix("file://"):
        return _without_credentials(place)
    # Links are not resolved: a link to the newest file is one source, whichever file that is.
    # A user that is not known is part of the name, as for the file system.
    return os.path.abspath(os.path.expanduser(place.removeprefix("file://")))  # noqa: PTH100, PTH111


def _without_credentials(place: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", place)
