"""The lab's databases and brokers are real, and keep, lose and reject data as the fixtures promise."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.lab.databases import Postgres, Redis
from tests.support.lab.influx import Influx
from tests.support.lab.processes import LabError, Server, poll_until, run
from tests.support.lab.runs import Run, new_run


def test_influx_keeps_points_over_a_restart(influx: Influx) -> None:
    at = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)
    with InfluxDBClient(url=influx.url, token=influx.token, org=influx.org) as client:
        client.write_api(write_options=SYNCHRONOUS).write(
            bucket=influx.bucket,
            record=f"lab_probe,hostname=git ms=0.31 {int(at.timestamp())}",
            write_precision=WritePrecision.S,
        )
    influx.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(influx.url.rpartition(":")[2])), timeout=2)
    influx.start()
    flux = 'from(bucket: bucket) |> range(start: from_) |> filter(fn: (r) => r._measurement == "lab_probe")'
    with InfluxDBClient(url=influx.url, token=influx.token, org=influx.org) as client:
        tables = client.query_api().query(
            flux, params={"bucket": influx.bucket, "from_": at - timedelta(hours=1)}
        )
    found = [(record.get_time(), record.get_value()) for table in tables for record in table.records]
    assert found == [(at, 0.31)]


def test_postgres_keeps_rows_over_a_restart(postgres: Postgres) -> None:
    engine = create_engine(postgres.new_database("lab_probe"))
    with engine.begin() as connection:
        connection.execute(text("create table probe (ms double precision)"))
        connection.execute(text("insert into probe values (0.31)"))
    engine.dispose()
    postgres.stop()
    with pytest.raises(OperationalError):
        engine.connect()
    postgres.start()
    with engine.connect() as connection:
        assert connection.execute(text("select ms from probe")).scalar_one() == 0.31
    engine.dispose()


def test_redis_answers_and_comes_back(redis: Redis) -> None:
    ping = ["redis-cli", "-u", redis.url, "ping"]
    assert run(ping).strip() == "PONG"
    redis.stop()
    with pytest.raises(LabError, match="refused"):
        run(ping)
    redis.start()
    assert run(ping).strip() == "PONG"


def test_servers_and_namespaces_of_a_killed_run_do_not_survive(tmp_path: Path) -> None:
    """A run that gets SIGKILL leaves no process; the next run removes its files and its namespace."""
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from tests.support.lab.processes import Server, run
        from tests.support.lab.runs import new_run

        with new_run() as lab_run:
            run(["ip", "netns", "add", lab_run.namespace("left")])
            server = Server("sleep", ["sleep", "600"], lab_run.directory / "log")
            server.start()
            print(lab_run.name, server.pid, lab_run.directory, flush=True)
            time.sleep(600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        name, pid, directory = victim.stdout.readline().split()
        with new_run():
            assert Path(directory).is_dir(), "a living run must be left alone"
        victim.kill()
    poll_until(lambda: not Path(f"/proc/{pid}").exists(), within_s=5, what="the orphan to end")
    with new_run():
        assert not Path(directory).exists()
        assert name not in run(["ip", "netns", "list"])


def test_a_server_that_ends_says_its_last_words(lab_run: Run) -> None:
    server = Server("crasher", ["sh", "-c", "echo no room left; exit 3"], lab_run.directory / "crasher.log")
    server.start()
    with pytest.raises(LabError, match="crasher does not run: no room left"):
        server.wait_until(lambda: None, within_s=5)
    server.stop()
