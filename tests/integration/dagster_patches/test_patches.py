"""Everything that is patched exists in the installed Dagster, and is what Dagster calls.

The modules beside this one show what it then does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from unittest.mock import Mock, create_autospec

import dagster as dg
import pytest
from dagster._core.execution.plan import utils
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon import controller
from dagster._daemon.auto_run_reexecution import auto_run_reexecution
from dagster._daemon.daemon import IntervalDaemon, SensorDaemon
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._grpc import server, server_watcher
from dagster._grpc.client import DagsterGrpcClient

from tests.support.running import ROOT
from tsobs_pipelines.dagster_patches import PATCHES, apply_all, code_server, queue, retries, workspace

PATCHED = (
    (controller, "WorkspaceProcessContext"),
    (server_watcher, "WATCH_INTERVAL"),
    (QueuedRunCoordinator, "dequeue_interval_seconds"),
    (QueuedRunCoordinatorDaemon, "_get_runs_to_dequeue"),
    (auto_run_reexecution, "retry_run"),
    (utils, "raise_execution_interrupts"),
    (server, "DagsterApiServer"),
    (server, "start_run_in_subprocess"),
)
"""Where each name is that a patch replaces."""


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every patch, taken back after the test."""
    for owner, name in PATCHED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    apply_all()


def queueing_instance(place: Path) -> dg.DagsterInstance:
    """An instance whose runs are queued."""
    coordinator = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    overrides = {"run_coordinator": coordinator, "telemetry": {"enabled": False}}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(place), overrides=overrides))


def test_each_patch_replaces_a_name_that_dagster_has(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: getattr(owner, name) for owner, name in PATCHED}
    for owner, name in PATCHED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    apply_all()
    assert not [name for owner, name in PATCHED if getattr(owner, name) == before[name]]


def test_the_readme_has_each_patch() -> None:
    readme = (ROOT / "tsobs_pipelines" / "dagster_patches" / "README.md").read_text("utf-8")
    modules = [path.name for path in (ROOT / "tsobs_pipelines" / "dagster_patches").glob("[a-z]*.py")]
    assert not [name for name in modules if f"`{name}`" not in readme]
    assert len(PATCHES) == 5


@pytest.mark.usefixtures("patched")
def test_the_daemon_has_our_workspace(tmp_path: Path) -> None:
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        controller.daemon_controller_from_instance(
            instance, EmptyWorkspaceTarget(), gen_daemons=lambda _: [SensorDaemon({})]
        ) as made,
    ):
        assert isinstance(made._workspace_process_context, workspace.Workspace)


@pytest.mark.usefixtures("patched")
def test_the_webserver_watches_the_code_server_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []
    client = create_autospec(DagsterGrpcClient, instance=True)
    client.get_server_id.return_value = "1"
    nothing = Mock()
    ended, thread = server_watcher.create_grpc_watch_thread(
        "code",
        client,
        get_location_entry=lambda _: None,
        refresh_code_location=nothing,
        on_disconnect=nothing,
        on_reconnected=nothing,
        on_updated=nothing,
        on_error=nothing,
    )

    def wait(seconds: float | None = None) -> bool:
        waited.append(seconds)
        ended.set()
        return True

    monkeypatch.setattr(ended, "wait", wait)
    thread.start()
    thread.join(30)
    assert waited == [workspace.WATCH_EVERY_S]
    client.get_server_id.assert_called_once()


@pytest.mark.usefixtures("patched")
def test_the_daemon_looks_into_the_queue_twice_a_second(tmp_path: Path) -> None:
    with queueing_instance(tmp_path) as instance:
        made = controller.create_daemon_of_type(QueuedRunCoordinatorDaemon.daemon_type(), instance)
        assert isinstance(made, IntervalDaemon)
    assert made.interval_seconds == queue.INTERVAL_S


@pytest.mark.usefixtures("patched")
def test_runs_in_progress_are_read_only_beside_queued_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_progress = Mock(return_value=[])
    monkeypatch.setattr(QueuedRunCoordinatorDaemon, "_get_in_progress_run_records", in_progress)
    with queueing_instance(tmp_path) as instance:
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        choose = partial(daemon._get_runs_to_dequeue, instance, instance.get_concurrency_config(), None)
        assert choose() == []
        in_progress.assert_not_called()
        code = GrpcServerCodeLocationOrigin("localhost", port=1, location_name="code")
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(code, "__repository__"), "nothing")
        waiting = dg.DagsterRun("nothing", status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin)
        instance.add_run(waiting)
        assert [run.run_id for run in choose()] == [waiting.run_id]
        in_progress.assert_called_once()


@pytest.mark.usefixtures("patched")
def test_the_command_makes_our_code_server() -> None:
    assert server.DagsterApiServer is code_server.CodeServer
    assert server.start_run_in_subprocess is code_server.execute_run  # type: ignore[attr-defined]
    # What the subclass relies on.
    assert hasattr(code_server.CodeServer.__mro__[1], "_check_for_orphaned_runs")
    assert retries.PATIENCE_S > retries.PAUSE_S
