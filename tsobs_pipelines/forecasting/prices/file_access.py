"""What file systems of fsspec have in common: packed files, times of change, and errors by what they mean."""

from __future__ import annotations

import io
import lzma
import re
import socket
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO, cast

from tsobs_pipelines.forecasting.prices.source import (
    PriceSourceError,
    PriceSourceSetupError,
    PriceSourceUnavailableError,
    PriceSourceUnreachableError,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PACKINGS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_LONGEST_MARK = max(map(len, _PACKINGS))

_TIMES_OF_CHANGE = ("Last-Modified", "LastModified", "last_modified", "mtime", "updated", "date_time")
"""Where file systems say when a file was changed: HTTP, S3, Azure, tar and SFTP, Google, zip."""

_FURTHEST_BEHIND = timedelta(hours=12)
"""How much later than in UTC a time of day in an unknown zone can be."""

_NOT_WHOLE = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_ABSENT = (FileNotFoundError, KeyError)
_NO_CONNECTION = (ConnectionError, TimeoutError, socket.gaierror)

_KINDS: dict[type[Exception], type[PriceSourceError]] = {
    PermissionError: PriceSourceError,
    IsADirectoryError: PriceSourceError,
    ImportError: PriceSourceSetupError,
}
"""What an error means that is not of the moment."""


def unpacked(data: bytes, path: str, limit: int) -> bytes:
    """The file's content, of a packed one at most ``limit`` bytes.

    The packing is told by the first bytes, as a web server may have unpacked the file already, and where
    they don't tell by the name, without the query of a URL.
    """
    from fsspec.compression import compr  # noqa: PLC0415 - needed for this source only
    from fsspec.utils import infer_compression  # noqa: PLC0415

    packing = next((kind for mark, kind in _PACKINGS.items() if data.startswith(mark)), None)
    if packing is None:
        by_name = infer_compression(re.split(r"[?#]", path)[0])
        if by_name not in _PACKINGS.values() or 0 < len(data) < _LONGEST_MARK:
            packing = by_name
    if packing is None:
        return data
    if packing not in compr:
        raise ImportError(f"{path}: packed with {packing}, which needs a package that fsspec knows")
    with cast("BinaryIO", compr[packing](io.BytesIO(data), mode="rb")) as file:
        return file.read(limit)


def changed_at(place: str, system: AbstractFileSystem, path: str) -> datetime | None:
    """When the file was last changed (UTC), ``None`` where nothing tells.

    What is in an archive (``zip://a.csv::/b.zip``) was not changed later than the archive.
    """
    from fsspec.core import url_to_fs  # noqa: PLC0415 - needed for this source only

    _, _, around = place.partition("::")
    times = [_changed_at(system, path)]
    with suppress(Exception):
        times += [_changed_at(*url_to_fs(around))] if around else []
    return min((time for time in times if time is not None), default=None)


def _changed_at(system: AbstractFileSystem, path: str) -> datetime | None:
    # Each file system has errors of its own where it does not know.
    with suppress(Exception):
        return cast("datetime", system.modified(path)).astimezone(UTC)
    with suppress(Exception):
        info = system.info(path)
        return next((at for key in _TIMES_OF_CHANGE if (at := _time(info.get(key))) is not None), None)
    return None


def _time(value: object) -> datetime | None:
    """A time as a file system writes it; a zip file's has no zone, and is taken for the latest it can be."""
    with suppress(ValueError, TypeError, OverflowError, OSError):
        match value:
            case datetime():
                return value.astimezone(UTC)
            case int() | float():
                return datetime.fromtimestamp(value, UTC)
            case str():
                said = datetime.fromisoformat(value) if value[:1].isdigit() else parsedate_to_datetime(value)
                return said.astimezone(UTC)
            case (int(year), int(month), int(day), int(hour), int(minute), *_):
                return datetime(year, month, day, hour, minute, tzinfo=UTC) + _FURTHEST_BEHIND
    return None


def failure_of(error: Exception, place: str, tell: Callable[[BaseException], str]) -> PriceSourceError:
    """The error of a file system, by its status or its cause; a try later is of use where it says so.

    File systems over HTTP call every failure a missing file, and keep what happened as its cause.
    ``tell`` gives an error's text without secrets.
    """
    causes = list(_causes(error))
    told = tell(causes[-1])
    if status := next(filter(None, map(_status, causes)), None):
        return _refusal(status, place)
    if any(isinstance(cause, _NO_CONNECTION) or hasattr(cause, "os_error") for cause in causes):
        return PriceSourceUnreachableError(told)
    if isinstance(error, FileNotFoundError) and all(isinstance(each, _ABSENT) for each in causes):
        return PriceSourceError(f"{place}: there is no such file")
    if isinstance(error, _NOT_WHOLE):
        told = f"{place}: not whole: {error}"
    kind = next((kind for errors, kind in _KINDS.items() if isinstance(error, errors)), None)
    return (kind or PriceSourceUnavailableError)(told)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) and 400 <= status < 600 else None


def _refusal(status: int, place: str) -> PriceSourceError:
    if status in {404, 410}:
        return PriceSourceError(f"{place}: HTTP {status}: there is no such file")
    if status in {401, 403}:
        return PriceSourceError(f"{place}: HTTP {status}: not allowed")
    if status in {408, 425, 429} or status >= 500:
        return PriceSourceUnavailableError(f"{place}: HTTP {status}")
    return PriceSourceError(f"{place}: HTTP {status}")
