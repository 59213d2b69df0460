"""A retry that can't be launched while the code server is down is launched once it is back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.workspace.context import BaseWorkspaceRequestContext, IWorkspaceProcessContext
from dagster._daemon.auto_run_reexecution import auto_run_reexecution as dagsters

from tests.support import history_contract as history
from tsobs_pipelines.dagster_patches import retries


class Workspace:
    """All that is used of a workspace, as ``retry_run`` is replaced here."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {"run_retries": {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as made:
        yield made


@pytest.mark.parametrize(("away", "attempts", "given_up"), [(2, 3, False), (10**6, None, True)])
def test_the_code_server_is_away_when_a_retry_is_due(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    away: int,
    attempts: int | None,
    given_up: bool,
) -> None:
    tried: list[str] = []

    def retry_run(failed_run: dg.DagsterRun, workspace: object) -> None:
        tried.append(failed_run.run_id)
        if len(tried) <= away:
            raise ConnectionError("the code server is away")

    monkeypatch.setattr(dagsters, "retry_run", retry_run)
    monkeypatch.setattr(retries, "PAUSE_S", 0.01)
    monkeypatch.setattr(retries, "PATIENCE_S", 0.2 if given_up else 30.0)
    retries.apply()
    run = instance.create_run_for_job(history.DEFS.resolve_job_def("summary_job"))
    instance.report_run_failed(run, "a worker died", JobFailureData(None, RunFailureReason.UNKNOWN))
    (record,) = instance.get_run_records()
    workspace = cast("IWorkspaceProcessContext[BaseWorkspaceRequestContext]", Workspace(instance))
    work = dagsters.consume_new_runs_for_automatic_reexecution(
        workspace, [record], logging.getLogger("daemon")
    )
    for _ in work:
        pass
    assert set(tried) == {run.run_id}
    assert attempts is None or len(tried) == attempts
    assert (instance.get_run_records()[0].dagster_run.tags.get("dagster/will_retry") == "false") == given_up
