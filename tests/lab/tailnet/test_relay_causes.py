"""Why a node is relayed, where the lab can bring it about: UDP lost on one side, on both, between two."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.lab.network import Host, Network
from tests.support.lab.processes import poll_until
from tests.support.lab.runs import Run
from tests.support.lab.sidecar import Sidecar, running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet
from tsobs_pipelines.alerting.machine import Signal, Verdict
from tsobs_pipelines.alerting.rules.relay import explained_relays
from tsobs_pipelines.tailnet.rows import Collected, collect

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

INTERVAL = timedelta(seconds=10)
EXPLAINED_WITHIN_S = 120

Break = Callable[[Network, Host, Host], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def both(network: Network, here: Host, git: Host) -> Iterator[None]:
    with network.without_udp(here), network.without_udp(git):
        yield


CASES: dict[str, tuple[Break, Sequence[str], str]] = {
    "on this side": (
        lambda network, here, _: network.without_udp(here),
        CRITICAL_NODES,
        "UDP is blocked here",
    ),
    "on that side": (lambda network, _, git: network.without_udp(git), ("git",), "only git: its side"),
    "on both": (both, CRITICAL_NODES, "UDP is blocked here"),
    "between the two": (
        lambda network, here, git: network.without_udp(here, git),
        ("git",),
        "only git: its side",
    ),
}


@pytest.fixture(scope="module")
def sidecar(tailnet: Tailnet, lab_run: Run) -> Iterator[Sidecar]:
    tailnet.direct()
    settings = {"SAMPLE_INTERVAL": f"{INTERVAL.seconds}"}
    with running_sidecar(lab_run, tailnet.observer, "causes", settings) as running:
        yield running


def collected(sidecar: Sidecar, since: datetime) -> Collected:
    """The rows of the rounds since then."""
    rounds = [this for this in sidecar.rounds() if this.at > since]
    return collect(rounds, CRITICAL_NODES, "lab")


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_told_from_rounds_and_a_netcheck_of_that_minute(
    name: str, sidecar: Sidecar, direct_tailnet: Tailnet
) -> None:
    lose, relayed, cause = CASES[name]
    restored = datetime.now(UTC)

    def direct_again() -> bool:
        """Two rounds without a relay: the next one is new to the sampler, and the last netcheck is older."""
        paths = [row.connection_type for row in collected(sidecar, restored).connections]
        return paths[-2 * len(CRITICAL_NODES) :] == ["direct"] * 2 * len(CRITICAL_NODES)

    poll_until(direct_again, within_s=EXPLAINED_WITHIN_S, what="direct rounds")
    start = datetime.now(UTC)
    git, observer = direct_tailnet.node("git").host, direct_tailnet.observer.host

    def explained() -> dict[str, Signal] | None:
        found = collected(sidecar, start)
        signals = explained_relays(found.connections, found.netchecks)
        newest = {node: mine[-1] for node, mine in signals.items() if mine}
        bad = {node: signal for node, signal in newest.items() if signal.verdict is Verdict.BAD}
        return bad if set(bad) == set(relayed) and all(cause in one.detail for one in bad.values()) else None

    with lose(direct_tailnet.network, observer, git):
        bad = poll_until(explained, within_s=EXPLAINED_WITHIN_S, what=f"{relayed} relayed: {cause}")
        found = collected(sidecar, start)
        first = min(row.time for row in found.connections if row.connection_type == "relay")

        def checked() -> bool:
            times = [row.time for row in collected(sidecar, restored).netchecks]
            return any(first - INTERVAL <= at <= first + 2 * INTERVAL for at in times)

        poll_until(checked, within_s=3 * INTERVAL.seconds, what=f"a netcheck at {first:%H:%M:%S}")
    assert all(signal.detail.startswith("fra: ") for signal in bad.values())
