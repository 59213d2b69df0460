"""What sensors learn from new materialisations: pure functions over event records, and the reading of them.

What belongs here: from event records to days, rounds, observations. What does not: sensors and assets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg

from tsobs_pipelines.alerting.evidence import ForecastObservation
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

    def text(self, key: str) -> str:
        """A metadata value as text, empty when it is not there."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> float | None:
        """A metadata value that is a number."""
        value = self.metadata.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def time(self, key: str) -> datetime | None:
        """A metadata value that is a time with a zone."""
        return _time(self.text(key))

    def end(self, key: str) -> datetime | None:
        """The end of a metadata value that is a span, ``<time> to <time>``."""
        return _time(self.text(key).rpartition(" to ")[2])

    @property
    def day(self) -> date | None:
        """The partition's day."""
        try:
            return date.fromisoformat(self.partition)
        except ValueError:
            return None


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo is not None else None


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


@dataclass(frozen=True, slots=True)
class ConnectionNews:
    """What new materialisations of ``connection_metrics`` say.

    All rounds up to ``complete_to`` are in the store. ``whole_days`` were written again as a whole, each with
    the storage id of the newest that did.
    """

    complete_to: datetime | None
    whole_days: Mapping[date, int]
    run_id: str
    partition: str


def connection_news(new: Sequence[Materialization]) -> ConnectionNews:
    """Sum up materialisations, oldest first; the source is the one that brought the newest round."""
    complete_to, source = None, new[-1]
    whole_days: dict[date, int] = {}
    for one in new:
        last = one.time("last_round")
        if last is not None and (complete_to is None or last >= complete_to):
            complete_to, source = last, one
        if one.day is not None and one.text("mode") != "incremental":
            whole_days[one.day] = one.storage_id
    return ConnectionNews(complete_to, whole_days, source.run_id, source.partition)


def forecast_observations(new: Sequence[Materialization], model: str) -> list[ForecastObservation]:
    """The observation in each materialisation of the model's evaluation that scored something."""
    found = []
    for one in new:
        time, mae = one.end("window"), one.number("mae")
        if time is None or mae is None:
            continue
        # Without "degraded" too few hours or days were scored for a verdict.
        judged = "degraded" in one.metadata
        found.append(
            ForecastObservation(
                model=model,
                time=time,
                mae=mae,
                baseline=one.number("baseline_mae") if judged else None,
                naive_mae=one.number("naive_mae"),
                naive_baseline=one.number("naive_baseline_mae"),
                week_ratio=one.number("skill_ratio_7d"),
                week_limit=SKILL_LIMIT,
            )
        )
    return found
