"""New materialisations, as sensors read them by their cursors, and what they report to the rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg

from tsobs_pipelines.alerting.collected import Collection
from tsobs_pipelines.alerting.evidence import ForecastObservation
from tsobs_pipelines.defs.common.reports import CollectionReport, EvaluationReport
from tsobs_pipelines.forecasting.verdict import SKILL_LIMIT

PAGE = 1000
PAGES = 20
"""More than 20,000 new materialisations wait for the next tick."""


@dataclass(frozen=True, slots=True)
class Materialization:
    """What a sensor needs of one materialisation."""

    storage_id: int
    run_id: str
    partition: str
    metadata: Mapping[str, object]

    @property
    def day(self) -> date | None:
        """The partition's day."""
        try:
            return date.fromisoformat(self.partition)
        except ValueError:
            return None


def new_materializations(
    instance: dg.DagsterInstance, asset: dg.AssetKey, cursor: str | None
) -> tuple[list[Materialization], str]:
    """Every materialisation behind the cursor, oldest first, and the cursor behind them."""
    after = int(cursor) if cursor and cursor.isdecimal() else 0
    found: list[Materialization] = []
    for _ in range(PAGES):
        records = dg.AssetRecordsFilter(asset_key=asset, after_storage_id=after)
        page = instance.fetch_materializations(records, limit=PAGE, ascending=True)
        found += [materialization_of(record) for record in page.records]
        if page.records:
            after = page.records[-1].storage_id
        if not page.has_more:
            break
    return found, str(after)


def read_cursors(cursor: str | None) -> dict[str, str]:
    """The cursor of each asset that a sensor reads, by the asset's key.

    A bare number is what a sensor of one tailnet wrote until it read several.
    """
    if cursor is None or cursor.isdecimal():
        return {"connection_metrics": cursor} if cursor else {}
    try:
        found = json.loads(cursor)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def written_cursors(cursors: Mapping[str, str]) -> str:
    """The cursors of several assets as one."""
    return json.dumps(cursors, sort_keys=True)


def materialization_of(record: dg.EventLogRecord) -> Materialization:
    """The materialisation in an event record."""
    event = record.asset_materialization
    metadata = {key: value.value for key, value in event.metadata.items()} if event else {}
    return Materialization(record.storage_id, record.run_id, record.partition_key or "", metadata)


def collections(new: Sequence[Materialization]) -> list[Collection]:
    """What each materialisation of a tailnet's metrics reports."""
    found = []
    for one in new:
        report = CollectionReport.read(one.metadata)
        whole_day = one.day if report.whole_day else None
        found.append(Collection(one.storage_id, one.run_id, one.partition, report.last_round, whole_day))
    return found


def forecast_observations(new: Sequence[Materialization], model: str) -> list[ForecastObservation]:
    """The observation in each materialisation of the model's evaluation that scored something."""
    found = []
    for one in new:
        report = EvaluationReport.read(one.metadata)
        if report.window is None or report.mae is None:
            continue
        found.append(
            ForecastObservation(
                model=model,
                time=report.window.end,
                mae=report.mae,
                baseline=report.baseline_mae if report.degraded is not None else None,
                naive_mae=report.naive_mae,
                naive_baseline=report.naive_baseline_mae,
                week_ratio=report.skill_ratio_7d,
                week_limit=SKILL_LIMIT,
            )
        )
    return found
