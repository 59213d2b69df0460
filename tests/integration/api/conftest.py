"""An API over a seeded store, for the tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_world import Api, api_of, demo_sidecar, parts_of, seed, settings_of
from tsobs_pipelines.api.dependencies import Parts


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """The parts of an API: two days of rounds, three evaluations, an alert that fires."""
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path_factory.mktemp("api")), url)
        seed(parts)
        yield parts
        parts.store.close()


@pytest.fixture(scope="module")
def api(seeded: Parts) -> Iterator[Api]:
    """The API over these parts."""
    with api_of(seeded) as made:
        yield made
