"""Backfills, run monitoring and retries of Dagster's daemon, one iteration at a time on request."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.utils import make_new_backfill_id
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

CONNECTIONS = [
    dg.AssetKey(name) for name in ("connection_metrics", "network_diagnostics", "connection_summary")
]
"""The assets of the tailnet, which are made together."""

log = logging.getLogger(__name__)


@dataclass
class Daemon:
    """The loops, on one instance."""

    instance: dg.DagsterInstance
    context: WorkspaceProcessContext
    _retries: EventLogConsumerDaemon = field(default_factory=EventLogConsumerDaemon)

    def request(self, assets: Sequence[dg.AssetKey], partitions: Sequence[str]) -> str:
        """Ask for a backfill, as the UI does; gives its id."""
        backfill_id = make_new_backfill_id()
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=self.context.create_request_context().asset_graph,
            partition_names=partitions,
            asset_selection=assets,
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=self.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        self.instance.add_backfill(backfill)
        return backfill_id

    def turn(self) -> None:
        """Each loop once."""
        for error in execute_backfill_iteration(self.context, log):
            assert error is None, error
        for error in execute_run_monitoring_iteration(self.context, log):
            assert error is None, error
        for _ in self._retries.run_iteration(self.context):
            pass

    def is_complete(self, backfill_id: str) -> bool:
        """Whether the backfill has ended, and well."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        assert backfill.status not in {BulkActionStatus.FAILED, BulkActionStatus.COMPLETED_FAILED}
        return backfill.status == BulkActionStatus.COMPLETED_SUCCESS

    def runs_of(self, backfill_id: str) -> Sequence[dg.DagsterRun]:
        """The backfill's runs, retries among them, the newest first."""
        return self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id}))


@contextmanager
def daemon(instance: dg.DagsterInstance) -> Iterator[Daemon]:
    """The loops over the definitions, which a code server of their own serves."""
    target = ModuleTarget("tsobs_pipelines.definitions", None, None, "tsobs")
    with WorkspaceProcessContext(instance, target) as context:
        location = context.create_request_context().get_code_location("tsobs")
        assert location.name == "tsobs"
        yield Daemon(instance, context)
