"""Why a node is relayed: the table of ``docs/ALERTS.md``, from rows to the message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.alert_rows import DAY, MINUTE, row
from tsobs_pipelines.alerting.evaluation import step_topics
from tsobs_pipelines.alerting.rules.relay import RELAY, explained_relays
from tsobs_pipelines.timeseries.schema import NETCHECK, NetcheckRow

DOCS = (Path(__file__).parents[3] / "docs" / "ALERTS.md").read_text("utf-8")
ONSET = 600.0
"""10:00, in minutes after midnight."""


@dataclass(frozen=True)
class Case:
    """The paths of dev and prod while git is relayed from 10:10 on, the netchecks, and what is to be said."""

    cause: str
    remedy: str
    others: tuple[str, ...] = ("direct", "direct")
    netchecks: dict[float, Mapping[str, int | str]] = field(default_factory=dict)


def home(code: str) -> dict[str, int | str]:
    """What the netcheck says of this side's own DERP region."""
    return {"preferred": 1, "code": code}


WELL: dict[str, int | str] = {"udp": 1, "mapping_varies": 0, "port_mapping": 0}
CASES = {
    "UDP blocked": Case(
        "UDP is blocked here: netcheck sees none since 10:04",
        "let UDP out of the observing host's network",
        ("relay", "relay"),
        {590: WELL, 604: {"udp": 0}, 609: {"udp": 0}},
    ),
    "both behind NATs that change ports": Case(
        "the NAT here changes ports by destination, and so may the one of git",
        "open UDP 41641 on one of the two, or add a peer relay",
        netchecks={600: {"udp": 1, "mapping_varies": 1, "port_mapping": 0}},
    ),
    "a router that maps ports is no hindrance": Case(
        "only git: its side, for the others are reached directly",
        "look at the firewall and the NAT of git: UDP 41641",
        netchecks={600: {"udp": 1, "mapping_varies": 1, "port_mapping": 1}},
    ),
    "this side": Case(
        "this side: all 3 nodes that answer are relayed at once",
        "look at the firewall and the NAT of the observing host",
        ("relay", "relay"),
    ),
    "this side has moved": Case(
        "this side changed its network: its DERP region went from nyc to fra at 10:10",
        "look at the uplink of the observing host",
        ("relay", "relay"),
        {600: WELL | home("nyc"), 610: WELL | home("fra")},
    ),
    "that side, whatever this side's home is": Case(
        "only git: its side, for the others are reached directly",
        "look at the firewall and the NAT of git: UDP 41641",
        netchecks={600: WELL | home("nyc"), 610: WELL | home("fra")},
    ),
    "the same home, and one that is not known": Case(
        "this side: all 3 nodes that answer are relayed at once",
        "look at the firewall and the NAT of the observing host",
        ("relay", "relay"),
        {590: WELL | home("fra"), 600: WELL, 610: WELL | home("fra")},
    ),
    "that side": Case(
        "only git: its side, for the others are reached directly",
        "look at the firewall and the NAT of git: UDP 41641",
        ("direct", "peer-relay"),
        {600: WELL},
    ),
    "some": Case(
        "not known from here: 2 of 3 nodes are relayed",
        "tailscale netcheck here and on git",
        ("relay", "direct"),
    ),
    "nobody to compare with": Case(
        "not known from here: no other node answers to compare with, and UDP worked here at 10:00",
        "tailscale netcheck here and on git",
        ("offline", "unreachable"),
        {600: WELL},
    ),
    "a netcheck that is too old says nothing": Case(
        "only git: its side, for the others are reached directly",
        "look at the firewall and the NAT of git: UDP 41641",
        netchecks={570: {"udp": 0}},
    ),
    "a later netcheck says nothing of an earlier round": Case(
        "only git: its side, for the others are reached directly",
        "look at the firewall and the NAT of git: UDP 41641",
        netchecks={613: {"udp": 0}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_likely_cause_is_told(name: str) -> None:
    case = CASES[name]
    rows = []
    for minute in range(600, 613):
        relayed = minute >= 610
        rows.append(row(minute, path="relay" if relayed else "direct", host="git"))
        for host, path in zip(("dev", "prod"), case.others, strict=True):
            rows.append(row(minute, path=path if relayed else "direct", host=host))
    netchecks = [
        NETCHECK.conform(
            {"time": DAY + minute * MINUTE, "tailnet": "demo", "region": region, "latency": 9.0, **flags}
        )
        for minute, flags in case.netchecks.items()
        for region in ("4", "9")
    ]
    changes = step_topics(RELAY, {}, explained_relays(rows, netchecks))[1]
    [told] = [change for change in changes if change.subject == "git"]
    assert told.at == DAY + 611 * MINUTE
    wanted = f"{case.cause}; try: {case.remedy}"
    assert RELAY.firing(told) == (
        f"git is reached through DERP relay fra, not directly. Likely cause: {wanted}"
    )
    assert RELAY.resolved(told) == "git is reached without DERP again (was relay fra)"


@pytest.mark.parametrize("name", CASES)
def test_the_docs_have_the_case(name: str) -> None:
    assert f"| {CASES[name].cause} | {CASES[name].remedy} |" in DOCS


def test_the_cause_of_the_newest_round_is_the_one_that_is_kept() -> None:
    rows = [row(minute, path="relay", host="git") for minute in range(600, 630)]
    rows += [row(minute, path="direct", host="dev") for minute in range(600, 630)]
    netchecks = [NetcheckRow(DAY + 620 * MINUTE + timedelta(0), "demo", "9", udp=0)]
    states, _ = step_topics(RELAY, {}, explained_relays(rows, netchecks))
    assert "UDP is blocked here: netcheck sees none since 10:20" in states["relay_git"].detail
