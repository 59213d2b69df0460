"""A real InfluxDB 2 on a free port of loopback, set up with organisation, bucket and token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from tests.support.lab.build import influxd
from tests.support.lab.processes import LabError, Server
from tests.support.lab.runs import Run
from tests.support.ports import free_port

START_WITHIN_S = 30


@dataclass
class Influx:
    """A running InfluxDB 2; ``stop`` and ``start`` keep its data, address and token."""

    server: Server
    url: str
    token: str = field(repr=False)
    org: str = "lab"
    bucket: str = "analytics"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that point tsobs at it."""
        return {
            "INFLUXDB_V2_URL": self.url,
            "INFLUXDB_V2_ORG": self.org,
            "INFLUXDB_V2_TOKEN": self.token,
            "TSOBS_INFLUX_BUCKET": self.bucket,
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.server.start()
        self.server.wait_until(self._passes, within_s=START_WITHIN_S)

    def stop(self) -> None:
        """Stop it; nothing listens on its port afterwards."""
        self.server.stop()

    def set_up(self) -> None:
        """Make user, organisation, bucket and token, once in the life of its data.

        Raises:
            LabError: It refused.
        """
        answer = httpx.post(
            f"{self.url}/api/v2/setup",
            json={
                "username": "lab",
                "password": "lab-password",
                "org": self.org,
                "bucket": self.bucket,
                "token": self.token,
            },
        )
        if answer.status_code != httpx.codes.CREATED:
            message = f"InfluxDB's set-up answered {answer.status_code}: {answer.text}"
            raise LabError(message)

    def _passes(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running_influx(lab_run: Run, name: str = "influx") -> Iterator[Influx]:
    """An InfluxDB with an empty bucket, gone when the block ends; ``name`` tells it from others."""
    place = lab_run.place(name)
    port = free_port()
    server = Server(
        name="influxd",
        command=[
            influxd(),
            f"--bolt-path={place / 'influxd.bolt'}",
            f"--engine-path={place / 'engine'}",
            f"--sqlite-path={place / 'influxd.sqlite'}",
            f"--http-bind-address=127.0.0.1:{port}",
            "--reporting-disabled",
        ],
        log=place / "influxd.log",
        patience_s=15,
    )
    influx = Influx(server, url=f"http://127.0.0.1:{port}", token=f"token-of-{name}-of-no-value")
    try:
        influx.start()
        influx.set_up()
        yield influx
    finally:
        influx.stop()
