"""The SQL database behind the SQL store, the alert state and the outbox: one engine for one URL."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOENT
from functools import cache, partial
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool, PoolProxiedConnection, QueuePool
from sqlalchemy.util import LRUCache

from tsobs_pipelines.secret_url import SecretUrl, clear
from tsobs_pipelines.settings import StateFileUrl

BUSY_TIMEOUT_S = 30
"""How long a SQLite connection waits for another process's write to end."""

CONNECT_TIMEOUT_S = 10
"""How long a connection to Postgres may take, or one that only reads a SQLite file may wait for it."""

_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_DEFERRED = "tsobs_deferred"
_FILE = "tsobs_file"

_compiled: LRUCache[tuple[object, ...], object] = LRUCache(1000)
"""What SQLAlchemy has compiled for any SQLite file, by dialect and statement."""

_engines: list[Engine] = []
_kept: list[Engine] = []
_pools_of_parent: list[Pool] = []


class DatabaseError(RuntimeError):
    """The database can't do what was asked; the text names it, says what failed, and holds no password."""


class DatabaseUnavailableError(DatabaseError):
    """The database did not answer, or was busy for too long: worth another try."""


def engine_for(url: SecretUrl | str) -> Engine:
    """The engine of this process for ``url``; connections are made when they are first needed.

    SQLite runs in WAL mode, so that readers and one writer of several processes do not stop one another. Its
    transactions begin with ``BEGIN IMMEDIATE``: one that reads and then writes can't find, after it has
    read, that somebody else has written. Those that only read use :func:`reading`.

    Raises:
        DatabaseError: the URL is none, or there is no directory for the SQLite file; that of the state is
            made.
    """
    return _engine_for(clear(url), isinstance(url, StateFileUrl))


@cache
def _engine_for(url: str, makes_directory: bool) -> Engine:  # noqa: FBT001 - a key of the cache
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            engine = create_engine(
                parsed,
                pool_pre_ping=True,
                pool_size=4,
                max_overflow=12,
                pool_recycle=1800,
                connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
            )
        else:
            engine = _sqlite_engine(parsed, makes_directory=makes_directory)
    except SQLAlchemyError as error:
        # The URL may hold a password: neither it nor the library's text, which may quote it, is shown.
        msg = (
            f"the database URL can't be used ({type(error).__name__}), expected sqlite:///… or postgresql://…"
        )
        raise DatabaseError(msg) from None
    except OSError as error:
        msg = f"SQLite file {url.removeprefix('sqlite:///')}: no directory for it: {error.strerror}"
        raise DatabaseError(msg) from None
    _engines.append(engine)
    return engine


def _sqlite_engine(url: URL, *, makes_directory: bool) -> Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).parent
        if makes_directory:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not folder.is_dir():
            raise FileNotFoundError(ENOENT, f"{folder} is not there")
    engine = sqlite_engine(url, BUSY_TIMEOUT_S)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "checkout", _notice_replaced_file)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_engine(url: URL, timeout_s: float, pool: Callable[..., Pool] = QueuePool) -> Engine:
    """An engine for a SQLite file, which shares with all others what SQLAlchemy has compiled.

    ``create_engine`` makes a dialect for each engine, and what is compiled for one dialect is compiled again
    for the next: in each run, although the fork server has executed the same statements before.
    """
    dialect = _sqlite_dialect()
    words, options = dialect.create_connect_args(url)
    options["timeout"] = timeout_s
    opened = pool(lambda: dialect.connect(*words, **options), dialect=dialect)
    return Engine(opened, dialect, url, execution_options={"compiled_cache": _compiled})


@cache
def _sqlite_dialect() -> Dialect:
    """SQLAlchemy's dialect of SQLite, after it has looked at what this SQLite can do."""
    engine = create_engine("sqlite://")
    with engine.connect():
        pass
    engine.dispose()
    return engine.dialect


@cache
def existing_sqlite(path: Path) -> Engine:
    """An engine for a SQLite file that is another program's: read as it is, never made and never written.

    Each transaction opens the file anew, so that nothing of it is held and one put in its place is seen.
    """

    def connect() -> sqlite3.Connection:
        # Not mode=ro: SQLite would make the -wal and -shm beside the file, and could not remove them again.
        place = f"{path.resolve().as_uri()}?mode=rw"
        connection = sqlite3.connect(place, uri=True, timeout=CONNECT_TIMEOUT_S)
        connection.execute("PRAGMA query_only=ON")
        return connection

    return create_engine(f"sqlite:///{path}", creator=connect, poolclass=NullPool)


@cache
def kept_sqlite(url: str, timeout_s: float) -> Engine:
    """An engine for a SQLite file of a library that makes and migrates it: one connection is kept open.

    Nothing is set on it, and transactions begin as the driver begins them. Closing the last connection of a
    file in WAL mode folds the log into the file and removes it, and the next one makes it anew: that costs
    more than what is asked. More connections than one live for a transaction each.
    """
    engine = sqlite_engine(make_url(url), timeout_s, partial(QueuePool, pool_size=1, max_overflow=-1))
    event.listen(engine, "connect", _remember_file)
    event.listen(engine, "checkout", _notice_replaced_file)
    _kept.append(engine)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed at the end of the block, rolled back when the block raises.

    Raises:
        DatabaseUnavailableError: no connection, or busy for longer than ``BUSY_TIMEOUT_S``.
        DatabaseError: anything else that the database refuses.
    """
    with _translated(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one snapshot, and SQLite's writers do not wait for it.

    Raises:
        DatabaseUnavailableError: no connection, or busy for longer than ``BUSY_TIMEOUT_S``.
        DatabaseError: anything else that the database refuses.
    """
    with _translated(engine), engine.connect() as connection:
        yield connection.execution_options(**{_DEFERRED: True})


def name_of(engine: Engine) -> str:
    """What a person calls this database: ``SQLite file …`` or ``postgresql at host/name``; no password."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {url.database}"
    return f"{url.get_backend_name()} at {url.host or 'local socket'}/{url.database or ''}"


def _configure_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    # The driver would begin transactions by itself, and too late; _begin_sqlite does it.
    connection.isolation_level = None
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}")
    _remember_file(connection, record)


def _remember_file(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if path:
        record.info[_FILE] = (path, _inode(path))


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # SQLite does not call its busy handler for this one when several processes open a new file at once.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _notice_replaced_file(
    _connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    # A pooled connection to a file that was replaced would write to the old file.
    known = record.info.get(_FILE)
    if known is not None and _inode(known[0]) != known[1]:
        msg = "the SQLite file was replaced"
        raise DisconnectionError(msg)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - runs at every checkout, and a Path costs more than the call
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _begin_sqlite(connection: Connection) -> None:
    deferred = connection.get_execution_options().get(_DEFERRED, False)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError:
        msg = f"{name_of(engine)}: all connections of this process are in use"
        raise DatabaseUnavailableError(msg) from None
    except DBAPIError as error:
        raise _explained(engine, error.orig or error, connection_lost=error.connection_invalidated) from error
    except sqlite3.Error as error:  # from _configure_sqlite, which SQLAlchemy does not wrap
        raise _explained(engine, error, connection_lost=False) from error
    except (SQLAlchemyError, OverflowError) as error:
        msg = f"{name_of(engine)}: {_first_line(error)}"
        raise DatabaseError(msg) from error


def _explained(engine: Engine, error: BaseException, *, connection_lost: bool) -> DatabaseError:
    if isinstance(error, sqlite3.Error):
        return _explained_sqlite(engine, error)
    text = f"{name_of(engine)}: {_first_line(error)}"
    sqlstate = getattr(error, "pgcode", None)
    if sqlstate is None and type(error).__name__ == "OperationalError":
        # libpq gives no code when connecting fails; what another try can't mend says so in words.
        lost = not any(word in text for word in ("authentication failed", "does not exist", "no password"))
        return DatabaseUnavailableError(text) if lost else DatabaseError(text)
    # Connection lost, out of resources, serialisation or deadlock, lock not available, shutting down.
    passing = ("08", "53", "40", "55P03", "57")
    if connection_lost or (isinstance(sqlstate, str) and sqlstate.startswith(passing)):
        return DatabaseUnavailableError(text)
    return DatabaseError(text)


def _explained_sqlite(engine: Engine, error: sqlite3.Error) -> DatabaseError:
    path = engine.url.database
    name = getattr(error, "sqlite_errorname", "")
    said = f"{name_of(engine)}: {_first_line(error)}"
    if _is_busy(error):
        return DatabaseUnavailableError(f"{said}; another process has been writing for {BUSY_TIMEOUT_S} s")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DatabaseError(
            f"{said}; the file is damaged. Stop tsobs and put a backup in its place, or move {path}, "
            f"{path}-wal and {path}-shm elsewhere: a new file is then filled again from the journal"
        )
    if name.startswith("SQLITE_FULL"):
        return DatabaseError(f"{said}; make room on its disk")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return DatabaseError(f"{said}; this user must be able to write the file and its directory ({name})")
    return DatabaseError(said)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def close_engines() -> None:
    """Close every connection that this process keeps; the next use opens one."""
    for engine in (*_engines, *_kept):
        engine.dispose()


def forget_engines() -> None:
    """Close every connection, and create new engines from now on: engines of deleted files use memory."""
    close_engines()
    _engines.clear()
    _kept.clear()
    for known in (_engine_for, existing_sqlite, kept_sqlite):
        known.cache_clear()


def _leave_connections_of_parent_alone() -> None:
    # A connection that two processes use is a broken one, and closing it here would end it over there too.
    for engine in _engines:
        _pools_of_parent.append(engine.pool)
        engine.dispose(close=False)


def _close_kept() -> None:
    # The child must not inherit the connection: it would believe that it holds the locks of its parent.
    for engine in _kept:
        engine.dispose()


os.register_at_fork(before=_close_kept, after_in_child=_leave_connections_of_parent_alone)
