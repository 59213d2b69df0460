"""Dagster's run history: which runs hold the newest status of something, and how old ones are deleted.

``DagsterInstance.delete_run`` alone leaves behind a run's file of events (SQLite keeps one for each run), its
check evaluations and its captured logs. Everything here can be killed and repeated: a run's row is deleted
last, and leftovers of runs that no longer exist are removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import dagster as dg
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from sqlalchemy import ColumnElement, Select, delete, func, or_, select

Id = TypeVar("Id", str, int)

EVENTS = SqlEventLogStorageTable.c
CHECKS = AssetCheckExecutionsTable.c
BATCH = 50
"""Runs that go in one transaction: writers wait for the others' events meanwhile."""

_ENDED_WELL = [dg.DagsterRunStatus.SUCCESS]
_ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_TELLING = [
    dg.DagsterEventType.ASSET_MATERIALIZATION.value,
    dg.DagsterEventType.ASSET_OBSERVATION.value,
    # Of a run that failed before it materialised, this is what shows its partition as failed.
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
]
_INDEX = "index.db"
_NO_RUN = ""
"""Dagster files what belongs to no run under this id."""


class UnknownStorageError(RuntimeError):
    """The instance keeps its events in a storage that this module does not know."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What runs that no longer exist had left behind."""

    runs: int
    files: int


def event_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    """The instance's storage of events.

    Raises:
        UnknownStorageError: it is not one of Dagster's SQL storages.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise UnknownStorageError(f"{type(storage).__name__}: expected Dagster's SQLite or Postgres storage")
    return storage


def shard_directory(instance: dg.DagsterInstance) -> Path | None:
    """Where SQLite keeps a file of events for each run; ``None`` where there are no such files."""
    storage = event_storage(instance)
    place = getattr(storage, "path_for_shard", None)
    return Path(place("index")).parent if callable(place) else None


def ended_before(instance: dg.DagsterInstance, succeeded: datetime, failed: datetime) -> list[str]:
    """The runs that succeeded, or failed or were cancelled, before these times; each group oldest first."""
    filters = (
        dg.RunsFilter(statuses=_ENDED_WELL, updated_before=succeeded),
        dg.RunsFilter(statuses=_ENDED_BADLY, updated_before=failed),
    )
    # Dagster gives the newest first.
    return [run for one in filters for run in reversed(instance.get_run_ids(one))]


def newest_runs(instance: dg.DagsterInstance) -> set[str]:
    """The runs with the newest event of a partition of an asset, or the newest evaluation of a check.

    Assets without partitions count as one of one partition. For each partition this is the newest event of
    each kind: of materialisations, of observations, and of plans to materialise.
    """
    newest_events: Select[tuple[int]] = (
        select(func.max(EVENTS.id))
        .where(EVENTS.asset_key.is_not(None), EVENTS.dagster_event_type.in_(_TELLING))
        .group_by(EVENTS.asset_key, EVENTS.dagster_event_type, EVENTS.partition)
    )
    newest_checks = [
        select(func.max(CHECKS.id))
        .where(of_these)
        .group_by(CHECKS.asset_key, CHECKS.check_name, CHECKS.partition)
        for of_these in (CHECKS.id.is_not(None), CHECKS.evaluation_event_storage_id.is_not(None))
    ]
    with event_storage(instance).index_connection() as connection:
        queries = [select(EVENTS.run_id).where(EVENTS.id.in_(newest_events)).distinct()]
        queries += [select(CHECKS.run_id).where(CHECKS.id.in_(newest)).distinct() for newest in newest_checks]
        return {run_id for query in queries for (run_id,) in connection.execute(query) if run_id}


def remove_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> int:
    """Remove runs with all that belongs to them; how many."""
    for batch in _batches(run_ids):
        _remove_events(instance, batch)
        for run_id in batch:
            _remove_files(instance, run_id)
            instance.run_storage.delete_run(run_id)
    return len(run_ids)


def sweep(instance: dg.DagsterInstance, before: datetime) -> Swept:
    """Remove the events and files of runs that do not exist, if they are older than ``before``."""
    existing = set(instance.get_run_ids())
    old = EVENTS.timestamp < before.replace(tzinfo=None)
    with event_storage(instance).index_connection() as connection:
        queries = [
            select(of.run_id).where(of.run_id > _NO_RUN).group_by(of.run_id) for of in (EVENTS, CHECKS)
        ]
        known = {run_id for query in queries for (run_id,) in connection.execute(query)} - existing
        young = {
            run_id
            for batch in _batches(sorted(known))
            for (run_id,) in connection.execute(
                select(EVENTS.run_id).where(EVENTS.run_id.in_(batch), ~old).distinct()
            )
        }
    gone = sorted(known - young)
    for batch in _batches(gone):
        _remove_events(instance, batch)
    files = [path for path in _shards(instance) if path.stem not in existing and _older(path, before)]
    for path in files:
        _remove_files(instance, path.stem)
    return Swept(len(gone), len(files))


def remove_runless(instance: dg.DagsterInstance, tag: str, before: datetime) -> int:
    """Remove materialisations that belong to no run, have this tag and are older than ``before``; how many.

    The newest materialisation of an asset stays: it is the asset's status.
    """
    storage = event_storage(instance)
    materialized = EVENTS.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value
    newest = select(func.max(EVENTS.id)).where(materialized).group_by(EVENTS.asset_key)
    # Dagster files tags of partitions only: of others, the event's text alone tells.
    tagged = EVENTS.event.contains(f'"{tag}"', autoescape=True)
    old = (
        (EVENTS.run_id == _NO_RUN) & materialized & (EVENTS.timestamp < before.replace(tzinfo=None)) & tagged
    )
    with storage.index_connection() as connection:
        going = connection.scalars(select(EVENTS.id).where(old, EVENTS.id.not_in(newest))).all()
    for batch in _batches(going):
        with storage.index_connection() as connection:
            connection.execute(delete(SqlEventLogStorageTable).where(EVENTS.id.in_(batch)))
    if going and shard_directory(instance) is not None:
        # SQLite keeps a second copy of each in a file of its own, which nothing reads.
        with storage.run_connection(_NO_RUN) as connection:
            connection.execute(delete(SqlEventLogStorageTable).where(old))
    return len(going)


def _remove_events(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    storage = event_storage(instance)
    of_runs: ColumnElement[bool] = or_(*(CHECKS.run_id == run_id for run_id in run_ids))
    with storage.index_connection() as connection:
        for run_id in run_ids:
            storage.delete_events_for_run(connection, run_id)
        connection.execute(delete(AssetCheckExecutionsTable).where(of_runs))


def _remove_files(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    directory = shard_directory(instance)
    if directory is not None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                (directory / f"{run_id}.db{suffix}").unlink()


def _shards(instance: dg.DagsterInstance) -> list[Path]:
    directory = shard_directory(instance)
    if directory is None or not directory.is_dir():
        return []
    return [path for path in directory.glob("?*.db") if path.name != _INDEX and not path.name.startswith(".")]


def _older(path: Path, before: datetime) -> bool:
    try:
        return path.stat().st_mtime < before.timestamp()
    except FileNotFoundError:
        return False


def _batches(ids: Sequence[Id]) -> Iterator[Sequence[Id]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]
