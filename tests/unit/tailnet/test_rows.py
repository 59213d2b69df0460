"""Rows of rounds: one for each node and round, independent of how they were collected."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.journals import NODES, minutes, pong, round_line
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet.rows import DELTA_LOOKBACK, collect, connection_rows, netcheck_rows
from tsobs_pipelines.timeseries.schema import CONNECTIONS, NETCHECK, ConnectionRow, NetcheckRow, conform_all

START = datetime(2026, 11, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rounds_of(*lines: bytes) -> list[Round]:
    return list(read_rounds(lines, JournalCounts()))


def changed(line: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(line), **changes}).encode() + b"\n"


def one_node(at: datetime, tx: int | None, rx: int | None = None, name: str = "git") -> bytes:
    peer = {"HostName": name, "DNSName": f"{name}.tail.test.", "Online": True}
    if tx is not None:
        peer |= {"TxBytes": tx, "RxBytes": tx if rx is None else rx}
    return changed(round_line(at, nodes=()), peers={name: peer}, pings={name: [pong("100.64.0.2", 5.0)] * 2})


def deltas(rows: Iterable[ConnectionRow]) -> list[tuple[object, object]]:
    return [(row["tx_delta"], row["rx_delta"]) for row in rows]


def test_warm_pings_make_the_figures_and_the_cold_one_stands_apart() -> None:
    pings = [pong("100.64.0.2", ms, relay="fra" if ms == 90 else "") for ms in (90, 10, 12, 20)]
    line = changed(round_line(START), pings={"git": [*pings, {"Err": "timeout"}]})
    [row] = connection_rows(rounds_of(line), ["git"], "default")
    assert row == ConnectionRow(
        time=START,
        tailnet="default",
        hostname="git",
        connection_type="direct",
        relay_node="none",
        latency_avg=14.0,
        latency_min=10.0,
        latency_max=20.0,
        latency_cold=90.0,
        pings_sent=5,
        pings_received=4,
        tx_bytes=row.tx_bytes,
        rx_bytes=row.rx_bytes,
        tx_delta=None,
        rx_delta=None,
        answered=1,
    )
    assert conform_all(CONNECTIONS, [row]) == [row]


def test_a_relayed_round_names_its_region() -> None:
    row = connection_rows(rounds_of(round_line(START, 30.0, relay="fra")), ["git"], "default")[0]
    assert (row["connection_type"], row["relay_node"]) == ("relay", "fra")


def test_an_idle_peer_without_curaddr_is_not_relayed() -> None:
    value = json.loads(round_line(START))
    value["peers"]["git"] |= {"CurAddr": "", "Relay": "fra"}
    [row] = connection_rows(rounds_of(json.dumps(value).encode()), ["git"], "default")
    assert (row["connection_type"], row["relay_node"]) == ("direct", "none")


def test_without_a_pong_latency_is_absent_and_not_zero() -> None:
    line = changed(round_line(START), pings={"git": [{"Err": "timeout"}] * 6})
    [row] = connection_rows(rounds_of(line), ["git"], "default")
    assert row["connection_type"] == "unreachable"
    assert [row[name] for name in ("latency_avg", "latency_min", "latency_max", "latency_cold")] == [None] * 4
    assert (row["pings_sent"], row["pings_received"]) == (6, 0)


@pytest.mark.parametrize("changes", [{"state": "Stopped"}, {"error": "timeout"}, {"peers": {}, "pings": {}}])
def test_each_round_has_a_row_for_each_node_even_if_it_says_nothing(changes: dict[str, object]) -> None:
    collected = collect(rounds_of(changed(round_line(START), **changes)), NODES, "default")
    assert [row["hostname"] for row in collected.connections] == list(NODES)
    assert {row["connection_type"] for row in collected.connections} == {"unknown"}
    assert {row["pings_sent"] for row in collected.connections} == {0}
    silent = "absent" if "peers" in changes else "not-taken"
    assert [row["evidence"] for row in collected.connections] == [silent] * 3


def test_nodes_are_found_by_host_name_dns_name_and_label_and_keep_the_name_they_were_asked_by() -> None:
    names = ["GIT", "chocolate-factory.tail.test", "chocolate-factory-dev.tail.test."]
    rows = connection_rows(rounds_of(round_line(START)), names, "default")
    assert [(row["hostname"], row["connection_type"]) for row in rows] == [(name, "direct") for name in names]


def test_two_peers_with_one_host_name_make_it_unknown_and_are_named() -> None:
    value = json.loads(round_line(START))
    value["peers"]["git-1"] = {"HostName": "git", "DNSName": "git-1.tail.test.", "Online": True}
    value["pings"]["git-1"] = [pong("100.64.0.9", 5.0)] * 6
    rounds = rounds_of(json.dumps(value).encode())
    collected = collect(rounds, ["git", "git-1.tail.test", "chocolate-factory"], "default")
    assert [row["connection_type"] for row in collected.connections] == ["unknown", "direct", "direct"]
    assert collected.ambiguous == {"git": ("git-1.tail.test", "git.tail.test")}


def test_the_sidecar_s_own_node_has_no_rows_not_even_when_a_round_fails() -> None:
    own = {"HostName": "git", "DNSName": "git.tail.test."}
    others = NODES[1:]
    lines = [changed(round_line(at, nodes=others), self=own) for at in minutes(START, 3)]
    lines.append(changed(round_line(START + 3 * MINUTE, nodes=()), state="Stopped"))
    collected = collect(rounds_of(*lines), NODES, "default")
    assert {row["hostname"] for row in collected.connections} == set(others)
    assert len(collected.connections) == 4 * 2
    assert collected.own_node == "git"


OBSERVER = {"HostName": "git", "DNSName": "observer.tail.test.", "TailscaleIPs": ["100.64.0.1"]}
PONGS = [{"Endpoint": "10.88.2.2:41641", "LatencySeconds": [0.01] * 6}]


def seen_in(nodes: dict[str, object], asked: str, *, every: bool = False) -> tuple[list[object], str | None]:
    """The evidence of a node's rows of one round, and the name of the own node."""
    line = {"v": 2, "at": "2026-11-24T02:05:00Z", "state": "Running", "self": OBSERVER}
    collected = collect(
        rounds_of(json.dumps({**line, "every": every, "nodes": nodes}).encode()), [asked], "d"
    )
    return [
        (row.connection_type, row.evidence, row.reason) for row in collected.connections
    ], collected.own_node


@pytest.mark.parametrize(
    ("nodes", "every", "asked", "evidence"),
    [
        ({"git": {"unprobed": "ambiguous", "nodes": ["a", "b"]}}, False, "git", ("ambiguous", "a, b")),
        ({"x": {"DNSName": "x.tail.test.", "pings": PONGS}}, False, "git", ("not-sampled", None)),
        (
            {"git": {"HostName": "git", "DNSName": "git.tail.test.", "pings": PONGS}},
            True,
            "git",
            ("ambiguous", "git.tail.test, observer.tail.test"),
        ),
        ({"git": {"unprobed": "held back"}}, False, "git", ("not-probed", "held back")),
        ({"git": {"unprobed": "self"}}, False, "git", None),
        ({"100.64.0.1": {"unprobed": "self"}}, False, "100.64.0.1", None),
        ({}, True, "git", None),
        ({}, False, "observer.tail.test.", None),
    ],
)
def test_a_name_is_the_own_node_s_only_if_it_means_no_other(
    nodes: dict[str, object], every: bool, asked: str, evidence: tuple[str, str | None] | None
) -> None:
    expected = ([], asked) if evidence is None else ([("unknown", *evidence)], None)
    assert seen_in(nodes, asked, every=every) == expected


def test_the_key_of_the_own_node_has_the_name_that_it_was_asked_for_by() -> None:
    line = {"v": 2, "at": "2026-11-24T02:05:00Z", "state": "Running", "self": OBSERVER, "nodes": {}}
    for asked, name in (("100.64.0.1", "100.64.0.1"), ("Observer.", "Observer."), ("x", "observer")):
        keys = collect(rounds_of(json.dumps(line).encode()), [asked], "d").keys
        assert [(key.hostname, key.own) for key in keys] == [(name, 1)]
    git = {"HostName": "git", "DNSName": "git.tail.test.", "pings": PONGS}
    twins = {**line, "every": True, "self": {**OBSERVER, "DNSName": ""}, "nodes": {"git": git}}
    assert "git" not in [
        key.hostname for key in collect(rounds_of(json.dumps(twins).encode()), ["git"], "d").keys
    ]


def test_the_names_behind_an_ambiguous_one_are_whole() -> None:
    names = tuple(f"{'a' * 60}-{place}.{'b' * 60}.tail.test" for place in range(5))
    line = {"v": 2, "at": "2026-11-24T02:05:00Z", "state": "Running", "self": OBSERVER}
    nodes = {"git": {"unprobed": "ambiguous", "nodes": names}}
    collected = collect(rounds_of(json.dumps({**line, "nodes": nodes}).encode()), ["git"], "d")
    assert collected.connections[0].reason == f"{names[0]}, and 4 more"
    assert collected.ambiguous == {"git": names}


def test_a_local_ping_shows_the_own_node_too() -> None:
    value = json.loads(round_line(START))
    del value["peers"]["git"]
    value["pings"]["git"] = [{"Err": "100.64.0.2 is local Tailscale IP"}]
    collected = collect(rounds_of(json.dumps(value).encode()), NODES, "default")
    assert (collected.own_node, len(collected.connections)) == ("git", 2)


def test_deltas_are_since_the_round_before_and_a_reset_counts_from_zero() -> None:
    totals = [100, 250, 250, 40, 90]
    lines = [one_node(at, tx, tx * 2) for at, tx in zip(minutes(START, 5), totals, strict=True)]
    rows = connection_rows(rounds_of(*lines), ["git"], "default")
    assert deltas(rows) == [(None, None), (150, 300), (0, 0), (40, 80), (50, 100)]


def test_one_counter_that_went_back_means_that_both_began_again() -> None:
    rows = connection_rows(
        rounds_of(one_node(START, 100, 5000), one_node(START + MINUTE, 120, 30)), ["git"], "d"
    )
    assert deltas(rows)[1] == (120, 30)


@pytest.mark.parametrize(("gap", "expected"), [(15, (50, 50)), (16, (None, None))])
def test_a_gap_is_bridged_up_to_the_lookback(gap: int, expected: tuple[int | None, int | None]) -> None:
    lines = [one_node(START, 100), one_node(START + gap * MINUTE, 150)]
    assert deltas(connection_rows(rounds_of(*lines), ["git"], "default"))[1] == expected


def test_rounds_without_counters_are_skipped_over() -> None:
    lines = [one_node(START, 100), one_node(START + MINUTE, None), one_node(START + 2 * MINUTE, 160)]
    assert deltas(connection_rows(rounds_of(*lines), ["git"], "default")) == [
        (None, None),
        (None, None),
        (60, 60),
    ]


def test_rounds_in_any_order_give_rows_in_the_order_of_time() -> None:
    lines = [one_node(at, 10 * place) for place, at in enumerate(minutes(START, 6))]
    expected = connection_rows(rounds_of(*lines), ["git"], "default")
    assert connection_rows(rounds_of(*reversed(lines)), ["git"], "default") == expected


_ROUND = st.tuples(
    st.sampled_from(["taken", "taken", "taken", "failed", "silent", "no counters", "own"]),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(1, 9),
)


def _history(steps: list[tuple[str, int, int, int]]) -> list[Round]:
    at, lines = START, []
    for kind, tx, rx, gap in steps:
        at += gap * MINUTE
        line = one_node(at, None if kind == "no counters" else tx, rx)
        if kind == "failed":
            line = changed(line, state="NoState", peers={}, pings={})
        elif kind == "silent":
            line = changed(line, pings={"git": [{"Err": "timeout"}] * 6})
        elif kind == "own":
            line = changed(line, self={"HostName": "watcher"})
        lines.append(line)
    return rounds_of(*lines)


@settings(max_examples=150)
@given(st.lists(_ROUND, max_size=25), st.lists(st.integers(0, 25), max_size=6))
def test_collecting_in_any_steps_gives_the_rows_of_a_full_replacement(
    steps: list[tuple[str, int, int, int]], cuts: list[int]
) -> None:
    nodes = ["git", "watcher", "elsewhere"]
    rounds = _history(steps)
    collected: list[ConnectionRow] = []
    bounds = sorted({0, len(rounds), *(min(cut, len(rounds)) for cut in cuts)})
    for start, end in pairwise(bounds):
        last = rounds[start - 1].at if start else None
        context = [this for this in rounds[:start] if last and this.at >= last - DELTA_LOOKBACK]
        collected += connection_rows(rounds[start:end], nodes, "default", context)
    assert collected == connection_rows(rounds, nodes, "default")


@given(st.lists(_ROUND, max_size=12))
def test_every_row_fits_the_schema_once(steps: list[tuple[str, int, int, int]]) -> None:
    rows = connection_rows(_history(steps), ["git", "elsewhere"], "default")
    assert len(conform_all(CONNECTIONS, rows)) == len(rows) == 2 * len(steps)


def test_netcheck_rows_are_one_for_each_region_in_ms() -> None:
    report = {
        "UDP": True,
        "IPv6": False,
        "MappingVariesByDestIP": None,
        "PreferredDERP": 4,
        "RegionLatency": {"4": 18_250_000, "18": 26_000_000},
    }
    rows = netcheck_rows(rounds_of(changed(round_line(START), netcheck=report)), "default")
    assert rows == [
        NetcheckRow(START, "default", "18", latency=26.0, preferred=0, udp=1, ipv6=0),
        NetcheckRow(START, "default", "4", latency=18.25, preferred=1, udp=1, ipv6=0),
    ]
    assert conform_all(NETCHECK, rows) == rows


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, None),
        ({"UPnP": None, "PMP": None, "PCP": None}, None),
        ({"UPnP": False, "PMP": None, "PCP": False}, 0),
        ({"UPnP": False, "PMP": True}, 1),
        ({"PCP": True}, 1),
    ],
)
def test_a_router_maps_ports_by_any_protocol(found: dict[str, bool | None], said: int | None) -> None:
    report = {"UDP": True, "RegionLatency": {"9": 1_000_000}, **found}
    [row] = netcheck_rows(rounds_of(changed(round_line(START), netcheck=report)), "default")
    assert row.port_mapping == said


def test_a_region_s_number_has_the_code_that_relay_node_has() -> None:
    report = {"PreferredDERP": 4, "RegionLatency": {"4": 18_000_000, "9": 26_000_000, "2": 90_000_000}}
    own = {"HostName": "observer", "DNSName": "observer.tail.test.", "Relay": "nyc"}
    # The pongs of this round come over region 9; the sidecar's own home is region 4.
    relayed = changed(round_line(START, relay="fra"), netcheck=report, self=own)
    rows = netcheck_rows(rounds_of(relayed), "default")
    assert {row.region: row.code for row in rows} == {"4": "nyc", "9": "fra", "2": None}
    [git] = connection_rows(rounds_of(relayed), ["git"], "default")
    assert git.relay_node in {row.code for row in rows}
    direct = changed(round_line(START), netcheck=report)
    assert {row.code for row in netcheck_rows(rounds_of(direct), "default") if row.region != "9"} == {None}


def test_an_older_netcheck_is_in_seconds() -> None:
    report = {"UDP": True, "PreferredDERP": 9, "DERPLatency": {"9-fra": 0.023, "2-nyc": 0.089}}
    rows = netcheck_rows(rounds_of(changed(round_line(START), netcheck=report)), "default")
    assert [(row["region"], row["latency"], row["preferred"]) for row in rows] == [
        ("2-nyc", 89.0, 0),
        ("9-fra", 23.0, 1),
    ]


def test_a_netcheck_that_no_region_answered_is_a_row_all_the_same() -> None:
    lines = [changed(round_line(START), netcheck={"UDP": False, "RegionLatency": None, "PreferredDERP": 0})]
    lines.append(round_line(START + MINUTE))
    rows = netcheck_rows(rounds_of(*lines), "default")
    assert [(row.region, row.udp, row.latency) for row in rows] == [("none", 0, None)]
    assert collect(rounds_of(*lines), NODES, "default").netchecks == rows
