"""Nothing lost, end to end: a real tailnet, a sidecar with a round each second, ``tsobs up``, InfluxDB.

Dagster is killed, the store stopped, the sidecar restarted, and a day has ended while nobody collected.
Nothing is repaired by hand: the healing sensor (every minute) and the 5-minute ticks have to do it, so that
this takes as long as the next tick is away.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.journals import minutes, round_line
from tests.support.lab.flux import flux, new_bucket
from tests.support.lab.influx import Influx
from tests.support.lab.runs import Run
from tests.support.lab.sidecar import Sidecar, running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet
from tests.support.running import Running, eventually, running

pytestmark = pytest.mark.timeout(600)

BUCKET = "nothing-lost"
ROUNDS_LOST_FOR = 10
HEALED_WITHIN_S = 200
TICK_WITHIN_S = 360

POINTS = f"""from(bucket: "{BUCKET}")
  |> range(start: -3d)
  |> filter(fn: (r) => r._measurement == "tailscale_connections" and r._field == "pings_sent")
  |> keep(columns: ["_time", "_value", "hostname"]) |> group()"""
LAUNCH = """mutation($tags: [ExecutionTag!]) {launchRun(executionParams: {
  selector: {repositoryLocationName: "tsobs", repositoryName: "__repository__",
             jobName: "heal_connections"},
  executionMetadata: {tags: $tags}}) {... on LaunchRunSuccess {run {runId}}}}"""
RUN = """query($id: ID!) {runOrError(runId: $id) {... on Run {status}}}"""
METADATA = """query($partitions: [String!]) {assetNodeOrError(assetKey: {path: ["connection_metrics"]}) {
  ... on AssetNode {assetMaterializations(partitions: $partitions, limit: 1) {
    metadataEntries {label ... on IntMetadataEntry {intValue}}}}}}"""


@dataclass
class Chain:
    """Sidecar and store; tsobs comes and goes."""

    sidecar: Sidecar
    influx: Influx
    directory: Path
    yesterday: datetime

    @property
    def settings(self) -> dict[str, str]:
        return {
            **replace(self.influx, bucket=BUCKET).environment,
            "TSOBS_SIDECAR_URL": self.sidecar.url,
            "TSOBS_START_DATE": str(self.yesterday.date()),
        }

    def append(self, *lines: bytes) -> None:
        """What a sidecar has written to yesterday's journal by then."""
        with (self.sidecar.journal / f"{self.yesterday.date()}.ndjson").open("ab") as journal:
            journal.writelines(lines)

    def journalled(self, until: datetime | None = None) -> set[tuple[datetime, str]]:
        """Each readable round of each node, as far as the journal goes, or until then."""
        found: set[tuple[datetime, str]] = set()
        for path in self.sidecar.journal.glob("*.ndjson"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                if (
                    len(line) < 1_000_000
                    and line.startswith((b'{"v":1,', b'{"v":2,'))
                    and line.endswith(b"}")
                ):
                    at = datetime.fromisoformat(json.loads(line)["at"])
                    if until is None or at <= until:
                        found |= {(at, node) for node in CRITICAL_NODES}
        return found

    def stored(self) -> Counter[tuple[datetime, str]]:
        """How many points InfluxDB itself holds of each round and node."""
        rows = flux(self.influx, POINTS)
        return Counter((datetime.fromisoformat(row["_time"]), row["hostname"]) for row in rows)

    def holds(self, until: datetime) -> bool:
        return self.journalled(until) <= set(self.stored())

    def wait_for_rounds(self, count: int) -> datetime:
        """Wait until so many more rounds are in today's journal; gives the time of the last."""
        before = len(self.journalled())
        eventually(
            lambda: len(self.journalled()) >= before + 3 * count, 60 + 2 * count, f"{count} rounds more"
        )
        return max(at for at, _ in self.journalled())


@pytest.fixture(scope="module")
def chain(
    lab_run: Run, influx: Influx, tailnet: Tailnet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chain]:
    tailnet.direct()
    new_bucket(influx, BUCKET)
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    with running_sidecar(lab_run, tailnet.observer, "nothing-lost") as sidecar:
        yield Chain(sidecar, influx, tmp_path_factory.mktemp("nothing-lost"), yesterday)


@pytest.fixture(scope="module")
def healed(chain: Chain) -> Iterator[Running]:
    """A tsobs that went through all of it, and has nothing left to do."""
    chain.append(*map(round_line, minutes(chain.yesterday, 1000)))
    with running(chain.directory, **chain.settings) as tsobs:
        eventually(
            lambda: chain.holds(datetime.now(UTC) - timedelta(seconds=90)), HEALED_WITHIN_S, "a first filling"
        )
        for pid in tsobs.descendants():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not tsobs.descendants(), 10, "every process of tsobs is gone")
    # Meanwhile the day before ended, with all that can go wrong in a journal.
    late = round_line(chain.yesterday + timedelta(minutes=1000))
    chain.append(
        *map(round_line, minutes(chain.yesterday + timedelta(minutes=1001), 439)),
        late[:200] + b"\n",
        late.replace(b'"v":1', b'"v":9'),
        b'{"v":1,"at":"' + b"x" * 20_000_000 + b'"}\n',
        late,  # the clock was set back
        late,
    )
    chain.wait_for_rounds(ROUNDS_LOST_FOR)
    with running(chain.directory, **chain.settings) as tsobs:
        chain.influx.stop()
        chain.wait_for_rounds(ROUNDS_LOST_FOR)
        chain.influx.start()
        chain.sidecar.stop()
        time.sleep(3)
        chain.sidecar.start()
        last = chain.wait_for_rounds(ROUNDS_LOST_FOR)
        eventually(lambda: chain.holds(last), TICK_WITHIN_S, "every round is in the store")
        yield tsobs


def test_each_journalled_round_of_each_node_is_in_the_store_once(chain: Chain, healed: Running) -> None:
    stored = chain.stored()
    assert set(stored.values()) == {1}
    assert set(stored) <= chain.journalled()
    yesterdays = [at for at, _ in stored if at.date() == chain.yesterday.date()]
    assert len(yesterdays) == 1440 * len(CRITICAL_NODES)


def test_what_could_not_be_read_is_counted(chain: Chain, healed: Running) -> None:
    answer = healed.graphql(METADATA, partitions=[str(chain.yesterday.date())])["assetNodeOrError"]
    entries = answer["assetMaterializations"][0]["metadataEntries"]  # type: ignore[index]
    counts = {entry["label"]: entry.get("intValue") for entry in entries}
    assert (counts["skipped_lines"], counts["duplicate_rounds"]) == (3, 1)
    assert int(counts["rounds"]) >= 1440  # of all the days of the run


def test_a_day_materialised_ten_times_at_once_is_the_same_day(chain: Chain, healed: Running) -> None:
    def of_yesterday() -> list[tuple[str, ...]]:
        day = chain.yesterday.date()
        query = f"""from(bucket: "{BUCKET}") |> range(start: {day}T00:00:00Z, stop: {day}T23:59:59Z)
          |> filter(fn: (r) => r._measurement == "tailscale_connections")"""
        return sorted(tuple(row.values()) for row in flux(chain.influx, query))

    def status(run_id: str) -> str:
        found = healed.graphql(RUN, id=run_id)["runOrError"]
        assert isinstance(found, dict)
        return str(found["status"])

    before = [row[2:] for row in of_yesterday()]
    day = str(chain.yesterday.date())
    tags = [{"key": f"dagster/asset_partition_range_{end}", "value": day} for end in ("start", "end")]
    launched: list[str] = []
    for _ in range(10):
        answer = healed.graphql(LAUNCH, tags=tags)["launchRun"]
        assert isinstance(answer, dict)
        launched.append(answer["run"]["runId"])
    eventually(
        lambda: all(status(run) in {"SUCCESS", "FAILURE", "CANCELED"} for run in launched), 120, "ten runs"
    )
    assert {status(run) for run in launched} == {"SUCCESS"}
    assert sorted(row[2:] for row in of_yesterday()) == sorted(before)
