"""What was lost: everything that must exist after the campaign is looked up where it must be."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from campaigns.load import Requested
from campaigns.source import Incident, ScriptedSidecar
from tests.support.bot_api import BotApi
from tests.support.running import Running
from tests.support.watching import ENDED
from tsobs_pipelines.alerting.tables import changes, messages
from tsobs_pipelines.database import engine_for, reading
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

PAGE = 200

RUNS = """query($cursor: String, $limit: Int!) {
  runsOrError(cursor: $cursor, limit: $limit) {... on Runs {results {
  runId status jobName parentRunId rootRunId startTime endTime tags {key value}}}}}"""
BACKFILLS = """{partitionBackfillsOrError(limit: 500) {... on PartitionBackfills {results {id status}}}}"""
MATERIALISED = """query($key: [String!]!, $partitions: [String!]) {assetNodeOrError(assetKey: {path: $key}) {
  ... on AssetNode {assetMaterializations(partitions: $partitions, limit: 1) {timestamp}}}}"""
STATS = """query($key: [String!]!) {assetNodeOrError(assetKey: {path: $key}) {
  ... on AssetNode {partitionStats {numMaterialized numPartitions numFailed}}}}"""
TICKS = """query($name: String!) {sensorOrError(sensorSelector: {repositoryLocationName: "tsobs",
  repositoryName: "__repository__", sensorName: $name}) {... on Sensor {sensorState {
  ticks(limit: 1) {status skipReason}}}}}"""
HEALED = {
    "healing_sensor": "The store has every round of the journal.",
    "forecast_healing_sensor": "Every due delivery day has its prices, forecast and evaluation.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that must be there: how much of it, what of it is lost, and what is worth knowing besides."""

    what: str
    wanted: int
    lost: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the messages about the incidents, each counted by change (began, is over)."""

    sent_once: int
    unknown_arrived: int
    unknown: int
    doubled: int
    other: tuple[str, ...]


def rounds(sidecar: ScriptedSidecar, state: Path) -> Verdict:
    """Each round of each node is in the store once, and nothing else is."""
    store = SqlStore(f"sqlite:///{state / 'tsobs.db'}")
    first = min(date.fromisoformat(day) for day in sidecar.days)
    window = Window.trailing(
        datetime.now(UTC) + timedelta(days=1), timedelta(days=(datetime.now(UTC).date() - first).days + 2)
    )
    found: Counter[tuple[datetime, str]] = Counter()
    for row in store.read(CONNECTIONS, window):
        found[row.time, row.hostname] += 1
    store.close()
    wanted = sidecar.wanted()
    doubles = sum(count - 1 for count in found.values())
    return Verdict(
        "rounds of nodes in the store",
        len(wanted),
        len(wanted - set(found)),
        f"double: {doubles}, not in the journal: {len(set(found) - wanted)}",
    )


def told(incidents: Sequence[Incident], bot: BotApi, state: Path) -> Told:
    """How each change of each incident was told: by the database, and by what the Bot API really got."""
    engine = engine_for(f"sqlite:///{state / 'tsobs.db'}")
    joined = select(
        changes.c.topic, changes.c.kind, changes.c.since, messages.c.fate, messages.c.reason, messages.c.html
    ).where(changes.c.message_id == messages.c.id)
    with reading(engine) as connection:
        rows = connection.execute(joined).all()
    arrived = Counter(bot.texts)
    sent_once = unknown_arrived = unknown = doubled = 0
    other: list[str] = []
    for incident in incidents:
        for kind in ("firing", "resolved"):
            mine = [
                row
                for row in rows
                if (row.topic, row.kind, row.since) == (incident.topic, kind, incident.begin)
            ]
            times = sum(arrived[row.html] for row in mine)
            fates = [row.fate for row in mine]
            if fates == ["sent"] and times == 1:
                sent_once += 1
            elif times > 1:
                doubled += 1
            elif fates == ["delivery_unknown"]:
                unknown_arrived += times == 1
                unknown += times == 0
            else:
                other.append(
                    f"{incident.topic} {kind} {incident.begin:%H:%M}: "
                    + ("; ".join(f"{row.fate} {row.reason}".strip() for row in mine) or "not found")
                    + f", arrived {times} times"
                )
    return Told(sent_once, unknown_arrived, unknown, doubled, tuple(other))


def alerts(incidents: Sequence[Incident], bot: BotApi, state: Path) -> Verdict:
    """Each incident was told once, or its message is marked as perhaps not delivered."""
    found = told(incidents, bot, state)
    return Verdict(
        "changes that must be told",
        2 * len(incidents),
        len(found.other),
        f"sent once {found.sent_once}; delivery_unknown {found.unknown_arrived + found.unknown}, of them "
        f"arrived {found.unknown_arrived}; arrived twice {found.doubled}"
        + "".join(f"; {text}" for text in found.other),
    )


def outbox(bot: BotApi, state: Path) -> Verdict:
    """Nothing waits, and no message that was sent is one that the Bot API does not know."""
    with reading(engine_for(f"sqlite:///{state / 'tsobs.db'}")) as connection:
        rows = connection.execute(select(messages.c.fate, messages.c.html)).all()
    arrived = Counter(bot.texts)
    fates = Counter(row.fate for row in rows)
    lost = (
        fates["pending"] + fates["failed"] + sum(row.fate == "sent" and not arrived[row.html] for row in rows)
    )
    doubles = sum(count - 1 for count in arrived.values())
    counted = ", ".join(f"{fate} {count}" for fate, count in sorted(fates.items()))
    return Verdict("messages in the outbox", len(rows), lost, f"{counted}; the same text twice: {doubles}")


def all_runs(tsobs: Running) -> list[dict[str, object]]:
    """Every run, newest first."""
    found: list[dict[str, object]] = []
    cursor = None
    while True:
        answer = tsobs.graphql(RUNS, cursor=cursor, limit=PAGE)["runsOrError"]
        assert isinstance(answer, dict)
        page: list[dict[str, object]] = answer["results"]
        found += page
        if len(page) < PAGE:
            return found
        cursor = page[-1]["runId"]


def stuck(tsobs: Running) -> Verdict:
    """No run is under way, and what was killed was tried again or had a later run of its job."""
    found = all_runs(tsobs)
    under_way = [run for run in found if run["status"] not in ENDED]
    parents = {run["parentRunId"] for run in found}
    failed = [run for run in found if run["status"] == "FAILURE"]
    for_good = [run for run in failed if run["runId"] not in parents]
    jobs = Counter(str(run["jobName"]) for run in for_good)
    return Verdict(
        "runs",
        len(found),
        len(under_way),
        f"hit {len(failed)}, tried again {len(failed) - len(for_good)}, failed for good {len(for_good)}"
        + "".join(f"; {job} {count}" for job, count in sorted(jobs.items())),
    )


def backfills(tsobs: Running, requested: Sequence[Requested]) -> Verdict:
    """Each day of each backfill that was accepted was materialised after it was asked for."""
    answer = tsobs.graphql(BACKFILLS)["partitionBackfillsOrError"]
    assert isinstance(answer, dict)
    states = Counter(str(one["status"]) for one in answer["results"])
    lost = [
        f"{one.backfill_id} {day}"
        for one in requested
        for day in one.days
        if materialised_at(tsobs, day) < one.at.timestamp()
    ]
    counted = ", ".join(f"{state} {count}" for state, count in sorted(states.items()))
    return Verdict(
        "partitions of requested backfills",
        sum(len(one.days) for one in requested),
        len(lost),
        f"{len(requested)} backfills accepted; {counted}" + "".join(f"; {text}" for text in lost),
    )


def materialised_at(tsobs: Running, day: date) -> float:
    """When the day was last materialised, as epoch seconds."""
    answer = tsobs.graphql(MATERIALISED, key=["connection_metrics"], partitions=[day.isoformat()])
    node = answer["assetNodeOrError"]
    assert isinstance(node, dict)
    newest = node["assetMaterializations"]
    return float(newest[0]["timestamp"]) / 1000 if newest else 0.0


def partitions(tsobs: Running) -> Verdict:
    """No partition of the tailnet is missing or shown as failed."""
    wanted = lost = 0
    notes = []
    for name in ("connection_metrics", "connection_summary"):
        node = tsobs.graphql(STATS, key=[name])["assetNodeOrError"]
        assert isinstance(node, dict)
        stats = node["partitionStats"]
        wanted += stats["numPartitions"]
        lost += stats["numPartitions"] - stats["numMaterialized"]
        notes.append(f"{name}: failed {stats['numFailed']}")
    return Verdict("partitions with a status", wanted, lost, ", ".join(notes))


def healed(tsobs: Running) -> Verdict:
    """Both healing sensors, each at its newest look, find nothing that lacks."""
    notes = []
    for name, well in HEALED.items():
        sensor = tsobs.graphql(TICKS, name=name)["sensorOrError"]
        assert isinstance(sensor, dict)
        said = next((str(tick["skipReason"]) for tick in sensor["sensorState"]["ticks"]), "no tick")
        if not said.startswith(well):
            notes.append(f"{name}: {said}")
    return Verdict("healing sensors that find all there", len(HEALED), len(notes), "; ".join(notes))


def log_lines(state: Path) -> Verdict:
    """Each line of the logs is one whole JSON object."""
    count = 0
    broken: list[str] = []
    for line in _lines(state / "logs"):
        count += 1
        try:
            whole = isinstance(json.loads(line), dict)
        except ValueError:
            whole = False
        if not whole:
            broken.append(line[:60].decode(errors="replace"))
    return Verdict("log lines that are whole JSON", count, len(broken), "; ".join(broken[:3]))


def _lines(logs: Path) -> Iterator[bytes]:
    for path in sorted(logs.glob("*.jsonl")):
        yield from path.read_bytes().splitlines()
    for path in sorted(logs.glob("*.jsonl.gz")):
        yield from gzip.decompress(path.read_bytes()).splitlines()


Look = Callable[[], Verdict]


def looks(
    tsobs: Running,
    sidecar: ScriptedSidecar,
    bot: BotApi,
    incidents: Sequence[Incident],
    requested: Sequence[Requested],
) -> Mapping[str, Look]:
    """Everything that is looked at, by a short name."""
    return {
        "rounds": lambda: rounds(sidecar, tsobs.state),
        "alerts": lambda: alerts(incidents, bot, tsobs.state),
        "outbox": lambda: outbox(bot, tsobs.state),
        "runs": lambda: stuck(tsobs),
        "backfills": lambda: backfills(tsobs, requested),
        "partitions": lambda: partitions(tsobs),
        "healing": lambda: healed(tsobs),
        "logs": lambda: log_lines(tsobs.state),
    }
