"""The sidecar over the LocalAPI of the oldest and the newest tailscaled: the same responses and rounds."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.lab.build import old_tailscale_programs, tailscale_programs
from tests.support.lab.processes import poll_until
from tests.support.lab.runs import new_run
from tests.support.lab.sidecar import Sidecar, running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet, running_tailnet
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rounds import Round

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

VERSIONS = {"1.80": old_tailscale_programs, "1.102": tailscale_programs}


@pytest.fixture(scope="module", params=VERSIONS)
def observed(request: pytest.FixtureRequest) -> Iterator[tuple[str, Tailnet, Sidecar]]:
    """A tailnet whose observer has this version, and a sidecar there with a round each five seconds."""
    with (
        new_run() as lab_run,
        running_tailnet(lab_run, VERSIONS[request.param]()) as tailnet,
        running_sidecar(lab_run, tailnet.observer, settings={"SAMPLE_INTERVAL": "10"}) as sidecar,
    ):
        yield request.param, tailnet, sidecar


def rounds_of(sidecar: Sidecar) -> list[Round]:
    chunks = (path.read_bytes() for path in sorted(sidecar.journal.glob("*.ndjson")))
    return list(read_rounds(chunks, JournalCounts()))


def test_every_route_is_answered_through_the_local_api(observed: tuple[str, Tailnet, Sidecar]) -> None:
    version, tailnet, sidecar = observed
    git = tailnet.node("git").ip

    def asked(path: str) -> object:
        answer = httpx.get(sidecar.url + path, timeout=40)
        assert answer.status_code == 200, path
        return answer.json()

    poll_until(lambda: httpx.get(f"{sidecar.url}/healthz").status_code == 200, within_s=60, what="health")
    healthz = asked("/healthz")
    assert isinstance(healthz, dict)
    assert healthz["api"] == "localapi"
    assert str(healthz["daemon"]).startswith(version)
    status = asked("/status")
    assert isinstance(status, dict)
    assert {peer["HostName"] for peer in status["Peer"].values()} == set(CRITICAL_NODES)
    whois = asked(f"/whois/{git}")
    assert isinstance(whois, dict)
    assert whois["Node"]["Name"] == "git.lab.ts.net."
    assert whois["UserProfile"]["LoginName"]
    assert httpx.get(f"{sidecar.url}/whois/100.127.0.9", timeout=40).status_code == 404
    pings = asked("/ping/git?format=json")
    assert isinstance(pings, list)
    assert [ping["LatencySeconds"] > 0 for ping in pings] == [True] * 5
    debug = asked("/debug/git")
    assert isinstance(debug, dict)
    assert debug["endpoint_changes"]
    assert any("Engine" in event for event in debug["events"])


def test_rounds_are_whole_and_a_silent_node_is_told(observed: tuple[str, Tailnet, Sidecar]) -> None:
    _, tailnet, sidecar = observed
    known = len(rounds_of(sidecar))
    poll_until(lambda: len(rounds_of(sidecar)) > known, within_s=60, what="a round")
    this = rounds_of(sidecar)[-1]
    assert (this.taken, this.interval_s, dict(this.unprobed)) == (True, 10, {})
    for name in CRITICAL_NODES:
        pings = this.pings[this.find(name)]
        assert [ping.err for ping in pings] == [""] * 6
        assert pings[-1].endpoint
    with tailnet.node("git").frozen():
        poll_until(
            lambda: [ping.err for ping in rounds_of(sidecar)[-1].pings["git"]] == ["no reply within 2 s"] * 6,
            within_s=60,
            what="silence",
        )
        assert rounds_of(sidecar)[-1].pings["chocolate-factory"][-1].endpoint
