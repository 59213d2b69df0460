"""The same guarantees with Dagster's history in a real Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.support import history_contract as contract
from tests.support.lab.databases import Postgres

Check = Callable[[dg.DagsterInstance], None]


@pytest.fixture
def instance(
    postgres: Postgres, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[dg.DagsterInstance]:
    url = postgres.new_database(f"history_{request.node.callspec.id}")
    overrides = {"storage": {"postgres": {"postgres_url": url}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as made:
        yield made


@pytest.mark.parametrize(
    "check",
    [
        contract.check_status_survives,
        contract.check_rows_level_off,
        contract.check_orphans_go,
        contract.check_looks_go,
    ],
    ids=["status", "rows", "orphans", "looks"],
)
def test_history(instance: dg.DagsterInstance, check: Check) -> None:
    check(instance)
