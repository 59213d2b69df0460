"""The first housekeeping and the first look at the disk, which no schedule would bring for hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tsobs_pipelines.defs.operations.first_day import first_requests
from tsobs_pipelines.run_tags import backfill_tags

METRICS, HOUSE, DISK = (dg.AssetKey(name) for name in ("connection_metrics", "housekeeping", "disk_use"))
JOBS = {HOUSE: "keep_house", DISK: "measure_disk"}


@dg.job(tags=backfill_tags())
def fill() -> None:
    """Stands for the filling of the history."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def asked(instance: dg.DagsterInstance) -> list[str] | str:
    found = first_requests(instance, [METRICS], JOBS)
    return found if isinstance(found, str) else [str(request.job_name) for request in found]


def test_both_run_once_after_the_first_filling(instance: dg.DagsterInstance) -> None:
    assert asked(instance) == "Waiting for the first rounds."
    instance.report_runless_asset_event(dg.AssetMaterialization(METRICS))
    run = instance.create_run_for_job(fill, status=dg.DagsterRunStatus.STARTED, tags=backfill_tags())
    assert asked(instance) == "Waiting until the history is filled."
    instance.delete_run(run.run_id)
    assert asked(instance) == ["keep_house", "measure_disk"]
    instance.report_runless_asset_event(dg.AssetMaterialization(DISK))
    assert asked(instance) == ["keep_house"]
    instance.report_runless_asset_event(dg.AssetMaterialization(HOUSE))
    assert asked(instance) == "Housekeeping and disk use have run."


def test_a_first_run_that_fails_is_not_asked_for_again(instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(METRICS))
    first, again = (first_requests(instance, [METRICS], JOBS) for _ in range(2))
    assert not isinstance(first, str)
    assert not isinstance(again, str)
    assert [one.run_key for one in first] == [one.run_key for one in again]
