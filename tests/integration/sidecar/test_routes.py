"""The sidecar's routes, with real bash and socat over a CLI that replays recorded output."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.sidecar_process import (
    DEV,
    GIT,
    FakeTailscale,
    Sidecar,
    node,
    poll,
    pong,
    running,
    status,
    today,
)
from tsobs_pipelines.tailnet.client import TailscaleHealthService


def test_status_is_a_projection_in_the_same_shape(sidecar: Sidecar) -> None:
    reply = sidecar.get("/status")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    body = reply.json
    assert list(body) == ["BackendState", "Version", "Self", "Peer"]
    peers = body["Peer"]
    assert isinstance(peers, dict)
    assert peers["nodekey:0"]["HostName"] == "git"
    assert peers["nodekey:0"]["TxBytes"] == 5678
    assert peers["nodekey:0"]["TailscaleIPs"][0] == GIT
    for secret in (b"SECRET", b"192.168.77.5", b"AuthURL", b"LoginName", b"12345/"):
        assert secret not in reply.body


def test_userspace_mode_is_said(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say("status", status() | {"TUN": False})
    assert sidecar.get("/status").json["TUN"] is False
    assert sidecar.get("/healthz").json["ok"] is True


def test_a_tailnet_without_peers_has_a_status(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say("status", status())
    assert sidecar.get("/status").json["Peer"] == {}


def test_members_of_another_type_do_not_get_out(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    peer = {
        **node("git", GIT),
        "HostName": {"SECRET": 1},
        "OS": ["SECRET"],
        "TailscaleIPs": [GIT, {"SECRET": 2}],
    }
    tailscale.say("status", status(peer))
    assert b"SECRET" not in sidecar.get("/status").body


@pytest.mark.parametrize(
    ("out", "exit_status", "expected"),
    [
        ("failed to connect to local tailscaled SECRET", 1, 502),
        ("not JSON SECRET", 0, 502),
        ("", 0, 502),
        ("[1]", 0, 502),
        ('{"BackendState":"Runn', 0, 502),
    ],
)
def test_a_failing_cli_is_a_502_that_does_not_repeat_it(
    sidecar: Sidecar, tailscale: FakeTailscale, out: str, exit_status: int, expected: int
) -> None:
    tailscale.say("status", out, err="SECRET path /var/run/x", status=exit_status)
    reply = sidecar.get("/status")
    assert reply.status == expected
    assert reply.error == "tailscale failed"


def test_a_cli_that_hangs_is_a_504_and_many_who_ask_wait_for_one_timeout(
    sidecar: Sidecar, tailscale: FakeTailscale
) -> None:
    tailscale.hang("status")
    started = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: sidecar.get("/status"), range(12)))
    assert {reply.status for reply in replies} == {504}
    assert time.monotonic() - started < 3 * 2 + 3
    assert sum(call.startswith("status") for call in tailscale.calls) <= 3


def test_a_status_is_never_older_than_its_request(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    for name in ("one", "two", "three"):
        tailscale.say("status", status(node(name, GIT)))
        assert name.encode() in sidecar.get("/status").body


def test_health_follows_the_daemon(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    well = sidecar.get("/healthz")
    assert (well.status, well.json["ok"]) == (200, True)
    assert well.json["daemon"] == "1.102.5"
    tailscale.say("status", status(state="Stopped"))
    stopped = sidecar.get("/healthz")
    assert (stopped.status, stopped.json["ok"], stopped.json["state"]) == (503, False, "Stopped")
    tailscale.say("status", "", status=1)
    assert sidecar.get("/healthz").status == 503


def test_whois_is_projected(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    answer = {
        "Node": {"Name": "git.tail1234.ts.net.", "Key": "SECRET", "Addresses": ["SECRET"]},
        "UserProfile": {
            "ID": 7,
            "LoginName": "ana@example.com",
            "DisplayName": "Ana",
            "ProfilePicURL": "SECRET",
        },
        "CapMap": {"SECRET": []},
    }
    tailscale.say("whois", answer, err="Warning: client version SECRET != tailscaled\n")
    reply = sidecar.get(f"/whois/{GIT}")
    assert reply.json == {
        "Node": {"Name": "git.tail1234.ts.net."},
        "UserProfile": {"LoginName": "ana@example.com", "DisplayName": "Ana"},
    }
    assert sidecar.get("/whois/fd7a:115c:a1e0::2").status == 200
    assert tailscale.calls[-1] == "whois --json -- fd7a:115c:a1e0::2"


def test_whois_tells_unknown_from_broken(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say("whois", "", err="peer not found\n", status=1)
    assert sidecar.get("/whois/100.64.0.99").status == 404
    tailscale.say("whois", "", err="failed to connect to local tailscaled\n", status=1)
    assert sidecar.get("/whois/100.64.0.99").status == 502
    tailscale.say("whois", "surprise")
    assert sidecar.get("/whois/100.64.0.99").status == 502
    tailscale.hang("whois")
    assert sidecar.get("/whois/100.64.0.99").status == 504


@pytest.mark.parametrize(
    "text", ["git", "1.2.3", "100.64.0.2:80", "--help", "100.64.0.2%20", "::g", ":", "a:b:c:x"]
)
def test_whois_takes_addresses_only(sidecar: Sidecar, tailscale: FakeTailscale, text: str) -> None:
    assert sidecar.get(f"/whois/{text}").status == 400
    assert not any(call.startswith("whois") for call in tailscale.calls)


def test_netcheck_keeps_stderr_out_and_is_cached(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    first = sidecar.get("/netcheck")
    assert first.json["RegionLatency"] == {"9": 12345678}
    tailscale.say("netcheck", "", status=1)
    assert sidecar.get("/netcheck").body == first.body
    assert sum(call.startswith("netcheck") for call in tailscale.calls) == 1


def test_a_failed_netcheck_is_not_cached(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say("netcheck", "no network SECRET", status=1)
    assert sidecar.get("/netcheck").status == 502
    tailscale.say("netcheck", {"UDP": True})
    assert sidecar.get("/netcheck").json == {"UDP": True}


@pytest.mark.parametrize(
    "name",
    [
        "git",
        "GIT",
        "git.tail1234.ts.net",
        "git.tail1234.ts.net.",
        "Git.Tail1234.ts.net",
        GIT,
        "fd7a:115c:a1e0::2",
        "git%2etail1234.ts.net",
    ],
)
def test_a_peer_has_many_names_and_the_cli_gets_its_address(
    sidecar: Sidecar, tailscale: FakeTailscale, name: str
) -> None:
    reply = sidecar.get(f"/ping/{name}")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.body.count(b"pong from git") == 5
    assert tailscale.calls[-1] == f"ping --until-direct=false --timeout=2s --c 5 -- {GIT}"


def test_the_first_label_of_a_dns_name_is_a_name_too(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say("status", status(node("git", GIT, "vm-4711"), node("git-1", DEV, "vm-4712")))
    assert sidecar.get("/ping/git-1").status == 200
    assert tailscale.calls[-1].endswith(DEV)


def test_a_host_name_of_two_peers_is_refused_with_both_dns_names(
    sidecar: Sidecar, tailscale: FakeTailscale
) -> None:
    tailscale.say("status", status(node("git", GIT), node("git-1", DEV, "git")))
    reply = sidecar.get("/ping/git")
    assert reply.status == 400
    assert "git-1.tail1234.ts.net, git.tail1234.ts.net" in reply.error
    assert sidecar.get("/ping/git.tail1234.ts.net").status == 200
    assert sidecar.get("/ping/git-1").status == 200


def test_a_name_that_is_no_peer_never_reaches_the_cli(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    for name in ("example.com", "8.8.8.8", "gi", "tail1234.ts.net"):
        assert sidecar.get(f"/ping/{name}").status == 404
        assert sidecar.get(f"/ping/{name}?format=json").status == 404
        assert sidecar.get(f"/debug/{name}").status == 404
    assert {call for call in tailscale.calls if not call.startswith("status")} == set()


def test_a_ping_is_judged_by_its_lines_not_by_the_exit_status(
    sidecar: Sidecar, tailscale: FakeTailscale
) -> None:
    relayed = f"pong from git ({GIT}) via DERP(fra) in 23ms\n" * 5
    tailscale.say("ping", relayed, err="direct connection not established\n", status=1)
    assert sidecar.get("/ping/git").body.count(b"DERP(fra)") == 5
    tailscale.say("ping", f'ping "{GIT}" timed out\n' * 5, err="no reply\n", status=1)
    silent = sidecar.get("/ping/git")
    assert (silent.status, silent.body.count(b"timed out"), silent.body.count(b"no reply")) == (200, 5, 1)
    tailscale.say("ping", "", err="Warning: client version SECRET\nno route to daemon SECRET\n", status=1)
    assert sidecar.get("/ping/git").error == "tailscale failed"


def test_pings_as_json_are_the_local_apis(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say(f"pong.{GIT}", {**pong(GIT), "PeerAPIURL": "SECRET"})
    reply = sidecar.get("/ping/git?format=json")
    assert json.loads(reply.body) == [pong(GIT)] * 5


def test_a_look_at_a_node_asks_the_daemon_once_for_its_status(
    sidecar: Sidecar, tailscale: FakeTailscale
) -> None:
    def look() -> list[str] | None:
        before, started = len(tailscale.calls), time.monotonic()
        _, pings = client.observe_peer("git")
        assert pings["count"] == 5
        return tailscale.calls[before:] if time.monotonic() - started < 1 else None

    with TailscaleHealthService(sidecar.url) as client:
        calls = poll(look, 60, "a look within the second for which a status is kept")
    assert [call.split()[0] for call in calls] == ["status", *["debug"] * 5]
    assert all(f"ip={GIT}" in call for call in calls[1:])


def test_the_nodes_to_ping_are_a_second_old_at_most(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    for ip in (GIT, DEV, "100.64.0.9"):
        tailscale.say("status", status(node("git", ip)))
        tailscale.say(f"pong.{ip}", pong(ip))
        assert sidecar.get(f"/ping/{ip}?format=json").status == 200
        time.sleep(1.1)
    assert sidecar.get(f"/ping/{DEV}?format=json").status == 404


def test_a_dead_peer_costs_two_timeouts_as_json(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.hang(f"pong.{GIT}")
    started = time.monotonic()
    reply = sidecar.get("/ping/git?format=json")
    assert json.loads(reply.body) == [{"Err": "no reply within 2 s"}] * 5
    assert time.monotonic() - started < 9


def test_a_ping_the_cli_fails_at_says_so(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say(f"pong.{GIT}", "SECRET", status=3)
    assert (
        json.loads(sidecar.get("/ping/git?format=json").body) == [{"Err": "probe failed: exit status 3"}] * 5
    )
    for hostile in ("SECRET", "[]", '"x"', '{"LatencySeconds":"1"}', "{}", "{\n\t\n"):
        tailscale.say(f"pong.{GIT}", hostile)
        expected = [{"Err": "probe failed: unreadable answer"}] * 5
        assert json.loads(sidecar.get("/ping/git?format=json").body) == expected


def test_a_stopped_daemon_pings_nobody(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say("status", status(node("git", GIT), state="Stopped"))
    assert sidecar.get("/ping/git").error == "tailscale is not running"
    assert sidecar.get("/ping/git?format=json").status == 502


def test_debug_is_projected_and_ends_by_itself(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    bus = (
        '{\n\t"Version": "1.102.5",\n\t"State": 6,\n\t"Prefs": {"Config": {"PrivateNodeKey": "SECRET"}}\n}\n'
        '{\n\t"BrowseToURL": "https://login.example/SECRET"\n}\n'
        '{\n\t"Engine": {"RBytes": 4, "LivePeers": {"nodekey:SECRET": {}}},'
        '\n\t"Health": {"Warnings": {"no-derp": {"Text": "SECRET"}}}\n}\n'
        '{\n\t"PeerChangedPatch": [{"NodeID": 5, "Online": false, "Key": "SECRET"}]\n}\n'
        '{\n\t"State": '
    )
    tailscale.say("watch-ipn", bus, err="Connected.\n")
    tailscale.linger("watch-ipn")
    changes = [
        {"When": "2026-11-24T02:05:00Z", "What": "setBestAddr", "From": {"AddrPort": "10.0.0.1:1"}, "To": "x"}
    ]
    tailscale.say("peer-endpoint-changes", json.dumps(changes))
    reply = sidecar.get("/debug/git")
    assert reply.status == 200
    assert b"SECRET" not in reply.body
    body = reply.json
    peer = body["peer"]
    assert isinstance(peer, dict)
    assert peer["DNSName"] == "git.tail1234.ts.net."
    assert body["endpoint_changes"] == changes
    assert body["events"] == [
        {"State": 6},
        {"Engine": {"RBytes": 4}, "Health": ["no-derp"]},
        {"PeerChangedPatch": [{"NodeID": 5, "Online": False}]},
    ]


def test_debug_can_be_switched_off(new_sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    new_sidecar.settings["SIDECAR_DEBUG"] = "off"
    with running(new_sidecar) as sidecar:
        assert sidecar.get("/debug/git").status == 404
    assert tailscale.calls == []


def test_every_request_is_one_line_of_the_log(sidecar: Sidecar) -> None:
    sidecar.get("/status")
    sidecar.get('/"quoted\\')
    sidecar.stop()
    lines = [line for line in sidecar.log if "path" in line and line["path"] != "/nothing"]
    assert [(line["method"], line["path"], line["status"], line["level"]) for line in lines] == [
        ("GET", "/status", 200, "INFO"),
        ("GET", '/"quoted\\', 400, "WARNING"),
    ]
    for line in lines:
        assert line["logger"] == "sidecar"
        assert isinstance(line["duration_ms"], int)
        assert str(line["timestamp"]).startswith(today()[:4])


def test_the_log_can_go_to_a_file(new_sidecar: Sidecar) -> None:
    new_sidecar.settings["SIDECAR_LOG"] = "access.jsonl"
    with running(new_sidecar) as sidecar:
        sidecar.get("/status")
    lines = [json.loads(line) for line in (sidecar.place / "access.jsonl").read_text().splitlines()]
    assert "/status" in {line.get("path") for line in lines}
