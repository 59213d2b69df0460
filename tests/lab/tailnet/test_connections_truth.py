"""What happens to a node is what InfluxDB contains: daemon, sidecar, journal, collector and store.

Each test does something to the tailnet that `test_tailnet.py` shows to be what it says, and looks at the rows
that were collected of it. A round is taken each second; a row counts when the round was taken afterwards.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.lab.influx import Influx
from tests.support.lab.processes import poll_until
from tests.support.lab.runs import Run
from tests.support.lab.sidecar import Sidecar, running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_client import InfluxAddress
from tsobs_pipelines.timeseries.schema import CONNECTIONS, NETCHECK, Row
from tsobs_pipelines.timeseries.store import Window

SEEN_WITHIN_S = 60
IDLE_WITHIN_S = 90
"""A daemon keeps a path warm for 45 s after the last traffic, and trusts it for some more."""
IN_A_ROW = 3
OTHERS = ("chocolate-factory-dev", "chocolate-factory")


@dataclass
class Observed:
    """The chain from the sidecar to InfluxDB, and its end."""

    collector: Collector
    store: InfluxStore

    def rows(self, node: str, since: datetime) -> list[Row]:
        """Collect what is new, and give the node's rows since then, in the order of time."""
        now = datetime.now(UTC)
        for day in sorted({since.date(), now.date()}):
            self.collector.collect_new(day)
        return self.store.read(CONNECTIONS, Window(since, now + timedelta(minutes=1)), {"hostname": node})

    def wait_for(
        self, node: str, what: str, fits: Callable[[Row], bool], since: datetime | None = None
    ) -> list[Row]:
        """The first rows of ``node`` from now on, or ``since``, of which three in a row fit.

        Pings to a node that does not answer take longer than the second between these rounds: the rounds
        that they cost are in the journal as not taken, and passed over here.

        Raises:
            LabError: There were none within a minute.
        """
        start = since or datetime.now(UTC)

        def streak() -> list[Row] | None:
            rows = [row for row in self.rows(node, start) if row["pings_sent"]]
            for place in range(len(rows) - IN_A_ROW + 1):
                if all(fits(row) for row in rows[place : place + IN_A_ROW]):
                    return rows[place : place + IN_A_ROW]
            return None

        return poll_until(streak, within_s=SEEN_WITHIN_S, what=f"{IN_A_ROW} rows of {node} in a row: {what}")


def is_direct(row: Row) -> bool:
    return row["connection_type"] == "direct"


def number(row: Row, column: str) -> float:
    value = row[column]
    assert isinstance(value, (int, float)), f"{column} of {row}"
    return value


@pytest.fixture(scope="module")
def sidecar(lab_run: Run, tailnet: Tailnet) -> Iterator[Sidecar]:
    """A sidecar that starts when every path is direct and all peers have become idle."""
    tailnet.direct()
    poll_until(
        lambda: current_addresses(tailnet) == {""}, within_s=IDLE_WITHIN_S, what="every peer to be idle"
    )
    with running_sidecar(lab_run, tailnet.observer, "truth") as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def observed(
    influx: Influx, sidecar: Sidecar, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observed]:
    locks: Path = tmp_path_factory.mktemp("locks")
    store = InfluxStore(InfluxAddress(influx.url, influx.org, influx.bucket, influx.token), locks)
    with TailscaleHealthService(sidecar.url) as service:
        yield Observed(Collector(service, store, CRITICAL_NODES, "truth"), store)
    store.close()


def current_addresses(tailnet: Tailnet) -> set[str]:
    """`CurAddr` of the critical nodes as the observer's daemon has it: empty for an idle peer."""
    peers = json.loads(tailnet.observer.cli("status", "--json"))["Peer"].values()
    return {peer["CurAddr"] for peer in peers if peer["HostName"] in CRITICAL_NODES}


def test_idle_peers_are_direct_from_the_first_round(observed: Observed, sidecar: Sidecar) -> None:
    """Runs first in this module: the sidecar has just started, and nobody had talked for seconds."""
    for name in CRITICAL_NODES:
        start = datetime.now(UTC) - timedelta(minutes=2)
        observed.wait_for(name, "direct", is_direct, start)
        rows = [row for row in observed.rows(name, start) if row["pings_sent"]]
        assert {row["connection_type"] for row in rows} == {"direct"}
        assert {row["relay_node"] for row in rows} == {"none"}


def test_a_near_node_answers_in_less_than_a_millisecond(observed: Observed, direct_tailnet: Tailnet) -> None:
    rows = observed.wait_for("git", "direct", is_direct)
    fastest = min(number(row, "latency_min") for row in rows)
    assert 0 < fastest < 1
    for row in rows:
        assert row["pings_sent"] == row["pings_received"] == 6
        assert number(row, "latency_min") <= number(row, "latency_avg") <= number(row, "latency_max")


def test_without_forwarding_the_path_is_relayed_and_later_direct_again(
    observed: Observed, direct_tailnet: Tailnet
) -> None:
    start = datetime.now(UTC)
    direct_tailnet.set_forwarding(False)
    for name in CRITICAL_NODES:
        for row in observed.wait_for(name, "relayed", lambda row: row["connection_type"] == "relay", start):
            assert row["relay_node"] == "fra"
            assert number(row, "latency_avg") > 0
    start = datetime.now(UTC)
    direct_tailnet.set_forwarding(True)
    for name in CRITICAL_NODES:
        observed.wait_for(name, "direct again", is_direct, start)


@pytest.mark.parametrize("delay_ms", [260, 1200], ids=["slow", "over a second"])
def test_a_slow_path_is_slow_and_direct(observed: Observed, direct_tailnet: Tailnet, delay_ms: float) -> None:
    def is_slow(row: Row) -> bool:
        return is_direct(row) and number(row, "latency_min") >= delay_ms

    with direct_tailnet.slow(direct_tailnet.node("git"), ms=delay_ms):
        rows = observed.wait_for("git", f"direct with over {delay_ms} ms", is_slow)
    for row in rows:
        assert number(row, "latency_min") <= number(row, "latency_avg") <= number(row, "latency_max")


def test_a_frozen_daemon_is_unreachable_and_its_neighbours_are_not(
    observed: Observed, direct_tailnet: Tailnet
) -> None:
    with direct_tailnet.node("git").frozen():
        rows = observed.wait_for("git", "unreachable", lambda row: row["connection_type"] == "unreachable")
        times = {row["time"] for row in rows}
        for name in OTHERS:
            beside = [row for row in observed.rows(name, min_time(rows)) if row["time"] in times]
            assert [row["connection_type"] for row in beside] == ["direct"] * IN_A_ROW
    for row in rows:
        assert row["latency_avg"] is row["latency_min"] is row["latency_max"] is row["latency_cold"] is None
        assert (row["pings_sent"], row["pings_received"]) == (6, 0)
    observed.wait_for("git", "direct again", is_direct)


def test_a_dead_daemon_is_offline_until_it_returns(observed: Observed, direct_tailnet: Tailnet) -> None:
    git = direct_tailnet.node("git")
    git.kill()
    rows = observed.wait_for("git", "offline", lambda row: row["connection_type"] == "offline")
    assert all(row["latency_avg"] is None and row["pings_received"] == 0 for row in rows)
    git.start()
    observed.wait_for("git", "direct again", is_direct)


def test_counters_that_start_again_count_from_zero(observed: Observed, direct_tailnet: Tailnet) -> None:
    git = direct_tailnet.node("git")
    start = datetime.now(UTC)
    # Disco pings are not counted; these go through WireGuard.
    direct_tailnet.observer.cli("ping", "--tsmp", "--c=3", git.ip)
    observed.wait_for("git", "some traffic", lambda row: number(row, "tx_bytes") > 0, start)
    direct_tailnet.observer.kill()
    direct_tailnet.observer.start()
    observed.wait_for("git", "counters at 0", lambda row: row["tx_bytes"] == 0 and is_direct(row))
    direct_tailnet.observer.cli("ping", "--tsmp", "--c=1", git.ip)
    observed.wait_for(
        "git", "traffic again", lambda row: number(row, "tx_bytes") > 0 if is_direct(row) else False
    )

    known = [row for row in observed.rows("git", start) if row["tx_bytes"] is not None]
    pairs = list(itertools.pairwise(known))
    resets = [
        (before, after) for before, after in pairs if number(after, "tx_bytes") < number(before, "tx_bytes")
    ]
    assert len(resets) == 1
    for before, after in pairs:
        total = number(after, "tx_bytes")
        expected = total if (before, after) in resets else total - number(before, "tx_bytes")
        assert after["tx_delta"] == expected


def test_netchecks_name_the_region_and_its_latency(observed: Observed, direct_tailnet: Tailnet) -> None:
    start = datetime.now(UTC) - timedelta(minutes=10)

    def regions() -> list[Row]:
        observed.rows("git", start)
        return observed.store.read(NETCHECK, Window(start, datetime.now(UTC)), {"tailnet": "truth"})

    row = poll_until(lambda: regions() or None, within_s=SEEN_WITHIN_S, what="a netcheck")[-1]
    assert row["region"] == "9"
    assert 0 < number(row, "latency") < 1_000


def min_time(rows: list[Row]) -> datetime:
    first = rows[0]["time"]
    assert isinstance(first, datetime)
    return first
