"""Debian's Postgres and Redis, each in a directory of its own on a free port of loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab.processes import LabError, Server, run
from tests.support.lab.runs import Run
from tests.support.ports import free_port

SUPERUSER = "postgres"
START_WITHIN_S = 30


@dataclass
class Postgres:
    """A running Postgres cluster; ``stop`` and ``start`` keep its data and port."""

    server: Server
    port: int
    programs: Path

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the cluster's first database."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """SQLAlchemy's address of ``database``."""
        return f"postgresql+psycopg2://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def new_database(self, name: str) -> str:
        """Make an empty database and give its address."""
        run([self.programs / "createdb", *self._reach(), name])
        return self.url_of(name)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self.server.start()
        self.server.wait_until(self._accepts, within_s=START_WITHIN_S)

    def stop(self) -> None:
        """Stop it at once; sessions are cut."""
        self.server.stop()

    def _accepts(self) -> bool:
        try:
            run([self.programs / "pg_isready", *self._reach(), "--quiet"], timeout_s=5)
        except LabError:
            return False
        return True

    def _reach(self) -> list[str]:
        return ["--host=127.0.0.1", f"--port={self.port}", f"--username={SUPERUSER}"]


@dataclass
class Redis:
    """A running Redis; ``stop`` loses what it held, as it keeps nothing on disk."""

    server: Server
    port: int

    @property
    def url(self) -> str:
        """Its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.server.start()
        self.server.wait_until(self._answers, within_s=START_WITHIN_S)

    def stop(self) -> None:
        """Stop it; nothing listens on its port afterwards."""
        self.server.stop()

    def _answers(self) -> bool:
        try:
            return run(["redis-cli", "-p", str(self.port), "ping"], timeout_s=5).strip() == "PONG"
        except LabError:
            return False


@contextlib.contextmanager
def running_postgres(lab_run: Run, name: str = "postgres") -> Iterator[Postgres]:
    """An empty Postgres cluster, gone when the block ends; under root it runs as the user ``postgres``.

    ``name`` tells it from other clusters of the same run.
    """
    programs = _postgres_programs()
    place = lab_run.place(name)
    # Postgres refuses to run as root.
    user = SUPERUSER if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(place, user=user, group=user)
    data = place / "data"
    as_user = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
    run(
        [
            *as_user,
            programs / "initdb",
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ],
        timeout_s=60,
    )
    port = free_port()
    server = Server(
        name=name,
        command=[
            programs / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={place}",
            "-c",
            "fsync=off",
        ],
        log=lab_run.directory / f"{name}.log",
        user=user,
        ending=signal.SIGINT,
        patience_s=10,
    )
    postgres = Postgres(server, port, programs)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


@contextlib.contextmanager
def running_redis(lab_run: Run) -> Iterator[Redis]:
    """An empty Redis, gone when the block ends."""
    if shutil.which("redis-server") is None:
        message = "redis-server is not installed (Debian package redis-server)"
        raise LabError(message)
    place = lab_run.place("redis")
    port = free_port()
    server = Server(
        name="redis-server",
        command=[
            "redis-server",
            *("--bind", "127.0.0.1"),
            *("--port", str(port)),
            *("--dir", str(place)),
            *("--save", ""),
            *("--appendonly", "no"),
        ],
        log=place / "redis.log",
    )
    redis = Redis(server, port)
    try:
        redis.start()
        yield redis
    finally:
        redis.stop()


def _postgres_programs() -> Path:
    """Where the newest installed Postgres keeps its programs: Debian leaves them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if not found:
        message = "Postgres is not installed (Debian package postgresql)"
        raise LabError(message)
    return found[-1].parent
