"""The lab's tailnet is a real one, and produces on demand what the sidecar has to observe."""

from __future__ import annotations

import json
from typing import Any

from tests.support.lab.processes import poll_until
from tests.support.lab.tailnet import CRITICAL_NODES, Node, Tailnet

DETECTED_WITHIN_S = 60


def peer_status(observer: Node, name: str) -> dict[str, Any]:
    peers = json.loads(observer.cli("status", "--json"))["Peer"].values()
    return next(peer for peer in peers if peer["HostName"] == name)


def test_the_observer_reaches_every_critical_node_directly_in_under_a_millisecond_or_so(
    direct_tailnet: Tailnet,
) -> None:
    for name in CRITICAL_NODES:
        node = direct_tailnet.node(name)
        pong = direct_tailnet.observer.ping(node)
        assert pong is not None
        assert pong["Endpoint"] == f"{node.host.address}:41641"
        assert 0 < pong["LatencySeconds"] < 0.1
        assert peer_status(direct_tailnet.observer, name)["DNSName"] == f"{name}.lab.ts.net."


def test_without_forwarding_every_path_becomes_a_relayed_one_and_comes_back(direct_tailnet: Tailnet) -> None:
    git = direct_tailnet.node("git")
    direct_tailnet.set_forwarding(False)

    def region() -> str | None:
        pong = direct_tailnet.observer.ping(git)
        return pong["DERPRegionCode"] if pong else None

    assert poll_until(lambda: region() or None, within_s=DETECTED_WITHIN_S, what="a relayed pong") == "fra"
    direct_tailnet.direct()
    assert region() == ""


def test_a_delay_is_in_each_pong_and_the_path_stays_direct(direct_tailnet: Tailnet) -> None:
    git = direct_tailnet.node("git")
    with direct_tailnet.slow(git, ms=260):
        pongs = [pong for _ in range(6) if (pong := direct_tailnet.observer.ping(git))]
    assert min(pong["LatencySeconds"] for pong in pongs) > 0.26
    assert all(pong["Endpoint"] for pong in pongs)
    after = direct_tailnet.observer.ping(git)
    assert after
    assert after["LatencySeconds"] < 0.26


def test_a_frozen_daemon_is_online_and_silent(direct_tailnet: Tailnet) -> None:
    git = direct_tailnet.node("git")
    with git.frozen():
        assert direct_tailnet.observer.ping(git, timeout_s=2) is None
        assert peer_status(direct_tailnet.observer, "git")["Online"] is True


def test_a_killed_daemon_is_offline_and_keeps_its_address_when_it_returns(direct_tailnet: Tailnet) -> None:
    git = direct_tailnet.node("git")
    address = git.ip
    git.kill()
    poll_until(
        lambda: peer_status(direct_tailnet.observer, "git")["Online"] is False,
        within_s=DETECTED_WITHIN_S,
        what="git to be offline",
    )
    git.start()
    poll_until(
        lambda: peer_status(direct_tailnet.observer, "git")["Online"] is True,
        within_s=DETECTED_WITHIN_S,
        what="git to be online again",
    )
    assert git.cli("ip", "-4").strip() == address


def test_netcheck_sees_the_lab_and_not_the_machine(direct_tailnet: Tailnet) -> None:
    report = json.loads(direct_tailnet.observer.cli("netcheck", "--format=json", timeout_s=30))
    assert report["UDP"] is True
    assert set(report["RegionLatency"]) == {"9"}
    assert report["GlobalV4"].startswith(direct_tailnet.observer.host.address)
