"""A run that failed is retried although the code server is down, or its status is not written yet."""

from __future__ import annotations

import logging
import threading
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


@pytest.fixture(autouse=True)
def as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the patch replaces is put back after each test."""
    monkeypatch.setattr(dagsters, "retry_run", dagsters.retry_run)
    monkeypatch.setattr(dagsters, "should_retry", dagsters.should_retry)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {"run_retries": {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as made:
        yield made


def consume(instance: dg.DagsterInstance, record: dg.RunRecord) -> None:
    """What the daemon does with a run of which it has read the last event."""
    workspace = cast("IWorkspaceProcessContext[BaseWorkspaceRequestContext]", Workspace(instance))
    for _ in dagsters.consume_new_runs_for_automatic_reexecution(
        workspace, [record], logging.getLogger("daemon")
    ):
        pass


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
    consume(instance, record)
    assert set(tried) == {run.run_id}
    assert attempts is None or len(tried) == attempts
    assert (instance.get_run_records()[0].dagster_run.tags.get("dagster/will_retry") == "false") == given_up


@pytest.mark.parametrize("fails", [True, False])
def test_a_run_is_judged_by_the_status_that_follows_its_last_event(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(dagsters, "retry_run", lambda failed_run, _: tried.append(failed_run.run_id))
    looks = looked_at(instance, monkeypatch)
    retries.apply()
    run = instance.create_run_for_job(history.DEFS.resolve_job_def("summary_job"))
    (before,) = instance.get_run_records()
    daemon = threading.Thread(target=consume, args=(instance, before))
    daemon.start()
    try:
        # Not before the daemon has seen a status that is out of date.
        assert looks.wait(30)
    finally:
        if fails:
            instance.report_run_failed(run, "a worker died", JobFailureData(None, RunFailureReason.UNKNOWN))
        else:
            instance.report_run_canceled(run)
        daemon.join(30)
    assert tried == ([run.run_id] if fails else [])


def looked_at(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once somebody has read a run that is under way."""
    seen = threading.Event()
    read = instance.get_run_by_id

    def noting(run_id: str) -> dg.DagsterRun | None:
        found = read(run_id)
        seen.set()
        return found

    monkeypatch.setattr(instance, "get_run_by_id", noting)
    return seen


def test_a_status_that_never_comes_holds_nothing_up_for_long(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(dagsters, "retry_run", lambda failed_run, _: tried.append(failed_run.run_id))
    monkeypatch.setattr(retries, "STATUS_PATIENCE_S", 0.2)
    retries.apply()
    instance.create_run_for_job(history.DEFS.resolve_job_def("summary_job"))
    consume(instance, instance.get_run_records()[0])
    assert tried == []
