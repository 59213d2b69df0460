"""Checks of database addresses in settings: whatever the drivers would refuse at each connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from tsobs_pipelines.setting_addresses import MAX_ADDRESS, MAX_PORT, host_name

if TYPE_CHECKING:
    from sqlalchemy import URL

_EXPECTED: Final = "expected sqlite:///<path> or postgresql://<user>:<password>@<host>:<port>/<name>"
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_NUMBERS: Final = frozenset(
    {
        *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        "tcp_user_timeout",
    }
)
_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


def database_url(value: str) -> str:
    """The address with the driver that is installed.

    Raises:
        ValueError: no database could be reached there; the text holds nothing of the address.
    """
    from sqlalchemy import make_url  # noqa: PLC0415 - a supervisor that lives for months needs none of it
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    # Without a driver SQLAlchemy 2.1 takes one that neither Dagster nor tsobs brings.
    url = re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg2://", value)
    if len(url) > MAX_ADDRESS or _CONTROL.search(url) or "\0" in unquote(url):
        raise ValueError(f"{_EXPECTED}, at most {MAX_ADDRESS} characters, none of them a control character")
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(_EXPECTED) from None
    if found.drivername == "sqlite":
        _check_sqlite(found)
    elif found.drivername == "postgresql+psycopg2":
        _check_postgres(found)
    else:
        raise ValueError(_EXPECTED)
    return url


def _check_sqlite(url: URL) -> None:
    path = url.database or ""
    if url.host or url.port or url.username or url.query:
        raise ValueError(f"{_EXPECTED}; SQLite's has a path and nothing else: three slashes and more")
    if not path or path == ":memory:" or path.startswith(("file:", "~")) or _CONTROL.search(path):
        raise ValueError(f"{_EXPECTED}; SQLite's is the path of a file, without ~")
    try:
        nearest = next(one for one in (Path(path), *Path(path).absolute().parents) if one.exists())
        fits = nearest.is_file() if nearest == Path(path) else nearest.is_dir()
    except PermissionError:
        return
    except OSError as error:
        raise ValueError(f"{_EXPECTED}; no file can have that path ({error.strerror})") from None
    if not fits:
        raise ValueError(f"{_EXPECTED}; SQLite's is the path of a file in a directory")


def _check_postgres(url: URL) -> None:
    import psycopg2.extensions  # type: ignore[import-untyped]  # noqa: PLC0415 - see above
    from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2  # noqa: PLC0415

    if url.port == 0:
        raise ValueError(f"{_EXPECTED} with a port from 1 to {MAX_PORT}")
    try:
        _, options = PGDialect_psycopg2().create_connect_args(url)  # type: ignore[no-untyped-call]
        # What the driver itself makes of it, and refuses; its text may repeat the address.
        psycopg2.extensions.make_dsn(**options)
    except (psycopg2.Error, TypeError, ValueError, UnicodeError):
        raise ValueError(f"{_EXPECTED}; what follows a ? is an option of libpq") from None
    _check_options(options)
    _check_hosts(str(options.get("host") or ""))


def _check_options(options: Mapping[str, object]) -> None:
    for name in ("host", "dbname", "user"):
        text = str(options.get(name, ""))
        if _CONTROL.search(text) or text != text.strip():
            raise ValueError(f"{_EXPECTED} without blanks at the ends of a name")
    for port in str(options.get("port") or "").split(","):
        if port and not (port.isdecimal() and port.isascii() and 1 <= int(port[:6]) <= MAX_PORT):
            raise ValueError(f"{_EXPECTED} with a port from 1 to {MAX_PORT}")
    for name in _NUMBERS & options.keys():
        if not re.fullmatch(r"-?\d{1,9}", str(options[name]), re.ASCII):
            raise ValueError(f"{_EXPECTED}; {name} is a number")
    if options.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"{_EXPECTED}; sslmode is one of {', '.join(sorted(_SSL_MODES))}")


def _check_hosts(hosts: str) -> None:
    for host in hosts.split(","):
        if host and not host.startswith(("/", "@")) and not _is_address(host):
            try:
                # The driver encodes no other alphabets.
                host_name(host if host.isascii() else "")
            except ValueError as error:
                raise ValueError(f"{_EXPECTED}, and in it {error}") from None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
