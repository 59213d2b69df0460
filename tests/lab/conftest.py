"""The lab's parts as fixtures of the session: each is started when the first test asks for it.

A part that can't be started fails the tests that need it; nothing is skipped. Tests that stop a part start it
again before they end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.lab.browser import chromium
from tests.support.lab.databases import Postgres, Redis, running_postgres, running_redis
from tests.support.lab.influx import Influx, running_influx
from tests.support.lab.live_api import LiveApi, fill, live_api, utc_now
from tests.support.lab.runs import Run, new_run
from tests.support.lab.tailnet import Tailnet, running_tailnet


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory as ``lab``, so that none runs without its servers by accident."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab_run() -> Iterator[Run]:
    """Files and names of this run of the lab."""
    with new_run() as run_of_now:
        yield run_of_now


@pytest.fixture(scope="session")
def influx(lab_run: Run) -> Iterator[Influx]:
    """A real InfluxDB 2: ``url``, ``org``, ``bucket``, ``token``, ``stop()``, ``start()``."""
    with running_influx(lab_run) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(lab_run: Run) -> Iterator[Postgres]:
    """A real Postgres: ``url``, ``new_database(name)``, ``stop()``, ``start()``."""
    with running_postgres(lab_run) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """SQLAlchemy's address of the Postgres."""
    return postgres.url


@pytest.fixture(scope="session")
def redis(lab_run: Run) -> Iterator[Redis]:
    """A real Redis: ``url``, ``stop()``, ``start()``."""
    with running_redis(lab_run) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis: Redis) -> str:
    """The address of the Redis."""
    return redis.url


@pytest.fixture(scope="session")
def tailnet(lab_run: Run) -> Iterator[Tailnet]:
    """A real tailnet of the three critical nodes and an observer, in whatever state the last test left it."""
    with running_tailnet(lab_run) as nodes:
        yield nodes


@pytest.fixture
def direct_tailnet(tailnet: Tailnet) -> Tailnet:
    """The tailnet with every node up and every path direct, whatever the test before did to it."""
    tailnet.direct()
    return tailnet


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; for one module only, because its client keeps an event loop in this thread."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    """The API over thirty days of the demo."""
    state = tmp_path_factory.mktemp("month")
    fill(state, utc_now())
    with live_api(state) as api:
        yield api


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    """The API with nothing collected and nothing evaluated."""
    with live_api(tmp_path_factory.mktemp("empty")) as api:
        yield api
