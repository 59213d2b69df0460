"""The sidecar over the daemon's LocalAPI: the same responses as by the CLI, which is then not called."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.localapi import Answer, Asked, served
from tests.support.sidecar_process import (
    DEV,
    ENTRYPOINT,
    GIT,
    FakeTailscale,
    Sidecar,
    node,
    poll,
    pong,
    running,
    status,
)

ANSWERED = [{"Endpoint": "10.88.2.2:41641", "LatencySeconds": [0.000327] * 6}]
RELAY_MAP = {
    "Regions": {
        "4": {"RegionCode": "fra", "RegionName": "SECRET", "Nodes": [{"HostName": "SECRET"}]},
        "18": {"RegionCode": "par"},
        "26": {"RegionCode": 7},
    },
    "OmitDefaultRegions": False,
}
SILENT = [{"Err": "no reply within 2 s", "times": 6}]


@dataclass
class Daemon:
    """What the LocalAPI says, and what it was asked."""

    status: dict[str, object]
    silent: set[str] = field(default_factory=set)
    dies_after: Counter[str] = field(default_factory=Counter)
    """Addresses that answer so many pings more."""
    refusals: dict[str, int] = field(default_factory=dict)
    """HTTP statuses by path."""
    says: bytes | None = None
    """The answer to a ping, with ``IP`` in the place of the address."""
    asked: list[str] = field(default_factory=list)
    under_way: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)

    async def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked.path)
        if asked.path in self.refusals:
            return Answer(b"SECRET refusal\n", self.refusals[asked.path])
        if asked.path == "derpmap":
            return Answer(json.dumps(RELAY_MAP).encode())
        if asked.path == "ping":
            return await self._ping(asked.query["ip"])
        return self._known(asked)

    def _known(self, asked: Asked) -> Answer:
        match asked.path:
            case "status":
                known = dict(self.status)
                if asked.query.get("peers") == "false":
                    known.pop("Peer")
                return Answer(json.dumps(known, indent="\t").encode())
            case "whois":
                if asked.query["addr"] != GIT:
                    return Answer(b"no match for IP:port\n", 404)
                user = {"LoginName": "ana@example.com", "DisplayName": "Ana", "ProfilePicURL": "SECRET"}
                return Answer(
                    json.dumps({"Node": {"Name": "git.x.", "Key": "SECRET"}, "UserProfile": user}).encode()
                )
            case "debug-peer-endpoint-changes":
                return Answer(
                    json.dumps([{"When": "x", "What": "y", "Secret": "SECRET"}], indent="\t").encode()
                )
            case "watch-ipn-bus":
                return Answer(b'{"State": 6, "Prefs": "SECRET"}\n{"BrowseToURL": "SECRET"}\n{"Sta')
            case _:
                return Answer(b"not found\n", 404)

    async def _ping(self, ip: str) -> Answer:
        if ip in self.dies_after:
            self.dies_after[ip] -= 1
            if self.dies_after[ip] < 0:
                self.silent.add(ip)
        if ip in self.silent:
            await asyncio.sleep(3)
        self.under_way[ip] += 1
        self.most_at_once[ip] = max(self.most_at_once[ip], self.under_way[ip])
        await asyncio.sleep(0.005)
        self.under_way[ip] -= 1
        if self.says is not None:
            return Answer(self.says.replace(b"ADDRESS", ip.encode()))
        return Answer(json.dumps(pong(ip), separators=(",", ":")).encode() + b"\n")


@pytest.fixture
def daemon(tmp_path: Path, new_sidecar: Sidecar) -> Iterator[Daemon]:
    """A daemon with two peers, and a sidecar that is told of its socket."""
    daemon = Daemon(status(node("git", GIT), node("chocolate-factory-dev", DEV)))
    # A socket's path has 107 characters at the most.
    socket = Path(os.path.relpath(tmp_path / "d.sock"))
    new_sidecar.settings["TS_SOCKET"] = str(tmp_path / "d.sock")
    with served(socket, daemon):
        yield daemon


@pytest.fixture
def sampled(new_sidecar: Sidecar, daemon: Daemon) -> Sidecar:
    """A sidecar that takes rounds as soon as it is started."""
    new_sidecar.settings |= {"SAMPLE_INTERVAL": "1", "SAMPLE_HOSTS": "git *", "SIDECAR_CLI_SECONDS": "2"}
    return new_sidecar


def taken(sidecar: Sidecar, count: int, within_s: float = 60) -> list[dict[str, object]]:
    """So many rounds that were taken: on a busy machine one may take the time of the next."""
    return poll(
        lambda: (
            found if len(found := [one for one in sidecar.rounds() if "error" not in one]) >= count else None
        ),
        within_s,
        f"{count} rounds",
    )


def latest(sidecar: Sidecar) -> str:
    return json.dumps(sidecar.rounds()[-1], separators=(",", ":"))


def nodes(this: dict[str, object]) -> dict[str, dict[str, object]]:
    found = this["nodes"]
    assert isinstance(found, dict)
    return found


def test_every_route_asks_the_local_api_and_not_the_cli(
    new_sidecar: Sidecar, daemon: Daemon, tailscale: FakeTailscale
) -> None:
    with running(new_sidecar) as sidecar:
        assert sidecar.get("/healthz").json["api"] == "localapi"
        answers = {
            path: sidecar.get(path)
            for path in ("/status", f"/whois/{GIT}", "/ping/git?format=json", "/debug/git", f"/whois/{DEV}")
        }
    assert [reply.status for reply in answers.values()] == [200, 200, 200, 200, 404]
    assert b"SECRET" not in b"".join(reply.body for reply in answers.values())
    peers = answers["/status"].json["Peer"]
    assert isinstance(peers, dict)
    assert peers["nodekey:0"]["HostName"] == "git"
    assert answers[f"/whois/{GIT}"].json == {
        "Node": {"Name": "git.x."},
        "UserProfile": {"LoginName": "ana@example.com", "DisplayName": "Ana"},
    }
    assert json.loads(answers["/ping/git?format=json"].body) == [pong(GIT)] * 5
    assert answers["/debug/git"].json["events"] == [{"State": 6}]
    assert answers["/debug/git"].json["endpoint_changes"] == [{"When": "x", "What": "y"}]
    assert tailscale.calls == []


UNREADABLE = {"Err": "probe failed: unreadable answer"}
PONG = b'{"IP":"ADDRESS","LatencySeconds":0.02,"Endpoint":"10.88.2.2:41641"}'


def test_an_answer_that_is_no_ping_is_said_to_be_unreadable(sampled: Sidecar, daemon: Daemon) -> None:
    daemon.says = b"<html>busy</html>"
    bodies = [
        b"",
        b"{",
        b"null\n",
        b"[]",
        b'{"IP":"ADDRESS"',
        b'{"IP":"ADDRESS", no JSON}',
        b'{"IP":"100.64.0.99","LatencySeconds":0.02}',
        b'{"LatencySeconds":0.02}',
        *(PONG.replace(b"0.02", odd) for odd in (b"-0.000001", b"1e300", b"3600.5", b"NaN", b'"0.02"')),
    ]
    with running(sampled) as sidecar:
        found = nodes(taken(sidecar, 1)[0])
        for body in bodies:
            daemon.says = body
            assert json.loads(sidecar.get("/ping/git?format=json").body) == [UNREADABLE] * 5, body
    assert [found[name]["pings"] for name in ("git", "chocolate-factory-dev")] == [
        [{**UNREADABLE, "times": 6}]
    ] * 2
    assert [name for name in found if "unprobed" in found[name]] == []


def test_an_answer_may_be_laid_out_in_any_way(sampled: Sidecar, daemon: Daemon) -> None:
    laid_out = json.dumps(json.loads(PONG), indent="\t").encode()
    daemon.says = laid_out
    bodies = [
        PONG,
        b'{"LatencySeconds":0.02,"Endpoint":"10.88.2.2:41641","IP":"ADDRESS"}',
        b'{"LatencySeconds":0.02,"Endpoint":"10.88.2.2:41641","IP":"ADDRESS"}\n',
        laid_out + b"\n",
        b"\n\n" + PONG + b"\r\n",
    ]
    with running(sampled) as sidecar:
        found = nodes(taken(sidecar, 1)[0])
        for body in bodies:
            daemon.says = body
            pongs = json.loads(sidecar.get("/ping/git?format=json").body)
            assert [(one.get("IP"), one.get("LatencySeconds")) for one in pongs] == [(GIT, 0.02)] * 5, body
    assert [found[name]["pings"] for name in ("git", "chocolate-factory-dev")] == [
        [{"Endpoint": "10.88.2.2:41641", "LatencySeconds": [0.02] * 6}]
    ] * 2


def test_answers_side_by_side_may_stand_in_any_order() -> None:
    first, second = (PONG.decode().replace("ADDRESS", address) for address in (GIT, DEV))
    printed = f"{first}{second}\n#1 0 200\n\n#0 0 200\n<html>\n#2 0 200\n\n#3 28 000\n"
    program = f"""SIDECAR_RUN_DIR=/ SIDECAR_CURL=ok BURST=2
        . ./lib.sh && . ./localapi.sh && . ./probe.sh || exit
        TAKEN=([{GIT}]=0 [{DEV}]=0)
        keep_answers {GIT} {DEV} {GIT} {DEV} && echo "$PINGS" """
    done = subprocess.run(
        ["bash", "-c", program],
        input=printed,
        text=True,
        capture_output=True,
        check=True,
        cwd=ENTRYPOINT.parent,
    )
    assert sorted(done.stdout.strip().split("\t")) == sorted(
        [
            first,
            second,
            f'{{"IP":"{GIT}","Err":"probe failed: unreadable answer"}}',
            f'{{"IP":"{DEV}","Err":"no reply within 2 s"}}',
        ]
    )


def test_without_a_socket_the_cli_is_asked_and_healthz_says_so(new_sidecar: Sidecar) -> None:
    new_sidecar.settings["TS_SOCKET"] = str(new_sidecar.place / "nothing.sock")
    with running(new_sidecar) as sidecar:
        assert sidecar.get("/status").status == 200
        assert sidecar.get("/healthz").json["api"] == f"cli: no socket at {new_sidecar.place}/nothing.sock"


def test_a_daemon_without_a_route_is_asked_by_the_cli(
    new_sidecar: Sidecar, daemon: Daemon, tailscale: FakeTailscale
) -> None:
    daemon.refusals = {"status": 404, "whois": 403, "watch-ipn-bus": 404, "debug-peer-endpoint-changes": 405}
    tailscale.say("whois", {"Node": {"Name": "git."}, "UserProfile": {"LoginName": "a", "DisplayName": "b"}})
    tailscale.say("watch-ipn", '{"State": 5}\n')
    tailscale.say("peer-endpoint-changes", "[]")
    with running(new_sidecar) as sidecar:
        for path in ("/status", f"/whois/{GIT}", "/debug/git"):
            reply = sidecar.get(path)
            assert reply.status == 200, path
            assert b"SECRET" not in reply.body
    assert {call.split()[1 if "socket" in call else 0] for call in tailscale.calls} == {
        "status",
        "whois",
        "debug",
    }


def test_a_daemon_that_is_gone_is_told(new_sidecar: Sidecar, daemon: Daemon) -> None:
    daemon.refusals = {"status": 500}
    with running(new_sidecar) as sidecar:
        assert sidecar.get("/healthz").status in {200, 503}
        daemon.status["BackendState"] = "Stopped"
        daemon.refusals = {}
        poll(lambda: sidecar.get("/healthz").json["state"] == "Stopped", 5, "the state to show")
        assert sidecar.get("/ping/git?format=json").status == 502


def test_a_netcheck_names_the_regions_of_the_relay_map(
    new_sidecar: Sidecar, daemon: Daemon, tailscale: FakeTailscale
) -> None:
    tailscale.say("netcheck", {"UDP": True, "RegionLatency": {"4": 18_000_000}})
    with running(new_sidecar) as sidecar:
        report = sidecar.get("/netcheck").json
        assert sidecar.get("/netcheck").json == report
    assert report["RegionCode"] == {"4": "fra", "18": "par"}
    assert report["UDP"] is True
    assert "SECRET" not in json.dumps(report)
    assert daemon.asked.count("derpmap") == 1


def test_a_daemon_without_a_relay_map_gives_its_netcheck(
    new_sidecar: Sidecar, daemon: Daemon, tailscale: FakeTailscale
) -> None:
    daemon.refusals = {"derpmap": 404}
    tailscale.say("netcheck", {"UDP": True})
    with running(new_sidecar) as sidecar:
        assert sidecar.get("/netcheck").json == {"UDP": True}


def test_a_round_over_the_local_api(sampled: Sidecar, daemon: Daemon, tailscale: FakeTailscale) -> None:
    with running(sampled) as sidecar:
        rounds = taken(sidecar, 3)
    for this in rounds:
        found = nodes(this)
        assert list(found) == ["git", "chocolate-factory-dev"], "the named one first"
        assert [node["pings"] for node in found.values()] == [ANSWERED] * 2
        assert "SECRET" not in json.dumps(this)
        assert this["every"] is True
    assert daemon.most_at_once == {GIT: 1, DEV: 1}, "the pings to a node follow one another"
    assert {call.split()[0] for call in tailscale.calls if "netcheck" not in call} == set()


def test_what_hardly_changes_is_in_every_tenth_round(sampled: Sidecar, daemon: Daemon) -> None:
    with running(sampled) as sidecar:
        rounds = taken(sidecar, 12, 60)[1:]
        daemon.status = status(node("git", GIT) | {"ID": "another"})
        poll(lambda: '"ID":"another"' in latest(sidecar), 20, "the new ID")
    with_id = {
        datetime.fromisoformat(str(this["at"])).second % 10 for this in rounds if "ID" in nodes(this)["git"]
    }
    assert with_id == {0}


def test_dead_nodes_cost_two_timeouts_side_by_side(sampled: Sidecar, daemon: Daemon) -> None:
    dead = [f"100.64.1.{number}" for number in range(40)]
    daemon.status = status(node("git", GIT), *(node(f"dead-{ip}", ip) for ip in dead))
    daemon.silent = set(dead)
    sampled.settings["SAMPLE_INTERVAL"] = "20"
    with running(sampled) as sidecar:
        this = taken(sidecar, 1, 40)[0]
    assert nodes(this)["git"]["pings"] == ANSWERED
    silent = [found for name, found in nodes(this).items() if name != "git"]
    assert [found["pings"] for found in silent] == [SILENT] * len(dead)
    assert float(str(this["took"])) < 10


def test_a_dead_node_that_is_asked_first_holds_back_nobody(sampled: Sidecar, daemon: Daemon) -> None:
    alive = [f"100.64.1.{number}" for number in range(5)]
    daemon.status = status(node("git", GIT), *(node(f"n-{ip}", ip) for ip in alive))
    daemon.silent = {GIT}
    sampled.settings["SAMPLE_INTERVAL"] = "15"
    with running(sampled) as sidecar:
        rounds = taken(sidecar, 2)
    for this in rounds:
        pings = {name: found["pings"] for name, found in nodes(this).items()}
        assert pings.pop("git") == SILENT
        assert list(pings.values()) == [ANSWERED] * 5


def test_a_node_that_dies_in_its_burst(sampled: Sidecar, daemon: Daemon) -> None:
    daemon.dies_after[GIT] = 3
    sampled.settings["SAMPLE_INTERVAL"] = "10"
    with running(sampled) as sidecar:
        found = nodes(taken(sidecar, 1, 40)[0])
    assert found["git"]["pings"] == [
        {"Endpoint": "10.88.2.2:41641", "LatencySeconds": [0.000327] * 3},
        {"Err": "no reply within 2 s", "times": 3},
    ]
    assert found["chocolate-factory-dev"]["pings"] == ANSWERED


@pytest.mark.parametrize(
    ("silent", "interval"),
    [(300, 10), pytest.param(562, 60, marks=pytest.mark.long)],
)
def test_a_round_ends_before_its_interval_and_names_what_it_lacks(
    sampled: Sidecar, daemon: Daemon, silent: int, interval: int
) -> None:
    """One live node and many silent ones: `git` is in every round, and every round is taken."""
    dead = [f"100.{65 + number // 250}.1.{number % 250}" for number in range(silent)]
    daemon.status = status(*(node(f"dead-{ip}", ip) for ip in dead), node("git", GIT))
    daemon.silent = set(dead)
    sampled.settings |= {"SAMPLE_INTERVAL": str(interval), "SAMPLE_HOSTS": "git,*"}
    with running(sampled) as sidecar:
        rounds = taken(sidecar, 3, 60 + 4 * interval)
    at = [datetime.fromisoformat(str(this["at"])) for this in rounds]
    assert {later - earlier for earlier, later in pairwise(at)} == {timedelta(seconds=interval)}
    for this in rounds:
        found = nodes(this)
        assert found["git"]["pings"] == ANSWERED
        assert "unprobed" not in found["git"]
        assert len(found) == silent + 1
        lacking = [one for one in found.values() if one.get("unprobed") == "out-of-time"]
        whole = [one for one in found.values() if one.get("pings") == SILENT]
        assert len(lacking) + len(whole) == silent
        assert bool(lacking) == (silent / interval > 20)


def test_nodes_that_never_answer_are_not_sampled_unasked(sampled: Sidecar, daemon: Daemon) -> None:
    shared = node("theirs", "100.64.9.1") | {"ShareeNode": True}
    mullvad = node("us-nyc", "100.64.9.2") | {"DNSName": "us-nyc-wg-101.mullvad.ts.net."}
    tagged = node("exit", "100.64.9.3") | {"Tags": ["tag:mullvad-exit-node"]}
    funnel = node("funnel", "100.64.9.4", "funnel-ingress-node")
    foreign = node("db", "100.64.9.5") | {"DNSName": "db.other.ts.net."}
    nameless = node("x", "100.64.9.6", "no dns") | {"DNSName": ""}
    daemon.status = status(node("git", GIT), shared, mullvad, tagged, funnel, foreign, nameless)
    sampled.settings["SAMPLE_HOSTS"] = ""
    with running(sampled) as sidecar:
        found = nodes(taken(sidecar, 2)[-1])
    assert set(found) == {"git", "db.other.ts.net", "no dns"}


def test_a_named_node_is_sampled_whatever_it_is(sampled: Sidecar, daemon: Daemon) -> None:
    daemon.status = status(node("theirs", "100.64.9.1") | {"ShareeNode": True})
    sampled.settings["SAMPLE_HOSTS"] = "theirs,100.64.9.1,observer,gone"
    with running(sampled) as sidecar:
        this = taken(sidecar, 2)[-1]
    found = nodes(this)
    assert found["theirs"]["pings"] == found["100.64.9.1"]["pings"] == ANSWERED
    assert (found["observer"], found["gone"]) == ({"unprobed": "self"}, {"unprobed": "absent"})
    assert this["every"] is False


@pytest.mark.parametrize("refused", [403, 500])
def test_a_ping_that_is_refused_says_so(sampled: Sidecar, daemon: Daemon, refused: int) -> None:
    daemon.refusals = {"ping": refused}
    with running(sampled) as sidecar:
        found = nodes(taken(sidecar, 1)[0])
    assert found["git"]["pings"] == [{"Err": f"probe failed: HTTP status {refused}", "times": 6}]
