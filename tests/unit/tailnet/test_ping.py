"""Every form of a ping's output, and hostile ones."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.tailnet.ping import (
    NoPong,
    PingResult,
    Pong,
    parse_go_duration,
    parse_ping_line,
    parse_ping_results,
    parse_ping_text,
    ping_stats,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0s", 0.0),
        ("0", 0.0),
        ("1ms", 1.0),
        ("23ms", 23.0),
        ("1s", 1000.0),
        ("1.234s", 1234.0),
        ("1m1.2s", 61200.0),
        ("0h59m0.5s", 3_540_500.0),
        ("327µs", 0.327),
        ("327μs", 0.327),
        ("327us", 0.327),
        ("900ns", 0.0009),
        (".5s", 500.0),
        ("5.s", 5000.0),
    ],
)
def test_go_durations(text: str, milliseconds: float) -> None:
    assert parse_go_duration(text) == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    "text",
    ["", "ms", "12", "-5ms", "1d", "1 ms", "1ms ", "\u0661ms", "1h0m0.5s", "1e3s", "nan", "9" * 70],
)
def test_no_durations(text: str) -> None:
    assert parse_go_duration(text) is None


@given(st.integers(0, 3_600_000_000))
def test_a_duration_as_go_prints_it_is_read_back(microseconds: int) -> None:
    seconds, rest = divmod(microseconds, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    text += f"{seconds}.{rest:06d}".rstrip("0").rstrip(".") + "s"
    assert parse_go_duration(text) == pytest.approx(microseconds / 1000)


NAME = "pong from chocolate-factory (100.64.0.3"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{NAME}) via DERP(fra) in 23ms", Pong(23.0, "derp", None, "fra")),
        (f"{NAME}) via [direct] in 12ms", Pong(12.0, "direct")),
        (f"{NAME}) via 10.88.2.2:41641 in 0s", Pong(0.0, "direct", "10.88.2.2:41641")),
        (f"{NAME}) via 10.88.2.2:41641 in 1.234s", Pong(1234.0, "direct", "10.88.2.2:41641")),
        (f"{NAME}) via [fd7a::1]:41641 in 1m1.2s", Pong(61200.0, "direct", "[fd7a::1]:41641")),
        (f"{NAME}) via [fe80::1%eth0]:41641 in 2ms", Pong(2.0, "direct", "[fe80::1%eth0]:41641")),
        (
            f"{NAME}) via peer-relay(192.0.2.7:7777:vni:12) in 9ms",
            Pong(9.0, "peer-relay", "192.0.2.7:7777:vni:12"),
        ),
        (f"{NAME}) via TSMP in 4ms", Pong(4.0, "tsmp")),
        (f"{NAME}) via ICMP in 4ms", Pong(4.0, "icmp")),
        (f"{NAME}, 41112) via DERP(fra) in 23ms", Pong(23.0, "derp", None, "fra")),
        (f"  {NAME}) via DERP(fra) in 23ms\r", Pong(23.0, "derp", None, "fra")),
        (f"{NAME}) via DERP() in 23ms", Pong(23.0, "derp", None, "unknown")),
        (f"{NAME}) via something-new in 23ms", Pong(23.0, "unknown", "something-new")),
        # A host name may hold the words that a careless reader looks for.
        (
            "pong from x) via DERP(nyc) in 1ms (100.64.0.9) via 10.0.0.1:1 in 7ms",
            Pong(7.0, "direct", "10.0.0.1:1"),
        ),
        ('ping "100.64.0.3" timed out', NoPong("no-reply", 'ping "100.64.0.3" timed out')),
        ("git is local Tailscale IP", NoPong("local", "git is local Tailscale IP")),
        ("no matching peer", NoPong("no-peer", "no matching peer")),
        ("unknown peer", NoPong("no-peer", "unknown peer")),
        ("peer's node key has expired", NoPong("key-expired", "peer's node key has expired")),
        ("direct connection not established", None),
        ("no reply", None),
        ('Warning: client version "1.102.5" != tailscaled server version "1.90.1"', None),
        (f"{NAME}) via DERP(fra) in soon", None),
        (f"{NAME}) via DERP(fra) in -3ms", None),
        ("", None),
    ],
)
def test_lines_of_tailscale_ping(line: str, expected: PingResult | None) -> None:
    assert parse_ping_line(line) == expected


def test_a_relayed_burst_with_exit_status_1_has_its_five_pongs() -> None:
    text = f"{NAME}) via DERP(fra) in 23ms\n" * 5 + "direct connection not established\n"
    assert parse_ping_text(text) == [Pong(23.0, "derp", None, "fra")] * 5


def test_silence_is_counted_once_for_each_ping() -> None:
    assert len(parse_ping_text('ping "100.64.0.3" timed out\n' * 5 + "no reply\n")) == 5
    assert [type(result) for result in parse_ping_text("no reply\n")] == [NoPong]


@given(st.text())
def test_no_text_raises_and_none_becomes_a_pong_by_chance(text: str) -> None:
    results = parse_ping_text(text)
    assert "pong from" in text or not any(isinstance(result, Pong) for result in results)


@given(
    st.text(max_size=200),
    st.sampled_from(["DERP(fra)", "[direct]", "10.0.0.1:41641", "peer-relay(1.2.3.4:1:vni:2)", "TSMP"]),
    st.text(alphabet="0123456789.msµnh-", max_size=80),
)
def test_hostile_names_and_durations_leave_plain_figures(name: str, via: str, duration: str) -> None:
    for result in parse_ping_text(f"pong from {name} (100.64.0.3) via {via} in {duration}"):
        if isinstance(result, Pong):
            assert 0 <= result.latency_ms <= 3_600_000
            assert all(part is None or part.isprintable() for part in (result.endpoint, result.region))
        else:
            assert result.text.isprintable()


def test_a_megabyte_of_almost_pongs_is_read_in_no_time() -> None:
    text = "pong from " + ") via x in " * 100_000
    assert parse_ping_text(text) == []


API_PONG = {
    "IP": "100.64.0.2",
    "NodeIP": "100.64.0.2",
    "NodeName": "git",
    "Err": "",
    "LatencySeconds": 0.000327,
    "Endpoint": "10.88.2.2:41641",
    "PeerRelay": "",
    "DERPRegionID": 0,
    "DERPRegionCode": "",
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Pong(0.327, "direct", "10.88.2.2:41641")),
        ({"LatencySeconds": 2}, Pong(2000.0, "direct", "10.88.2.2:41641")),
        ({"Endpoint": "", "DERPRegionID": 9, "DERPRegionCode": "fra"}, Pong(0.327, "derp", None, "fra")),
        ({"Endpoint": "", "DERPRegionID": 9}, Pong(0.327, "derp", None, "unknown")),
        ({"PeerRelay": "192.0.2.7:7:vni:1"}, Pong(0.327, "peer-relay", "192.0.2.7:7:vni:1")),
        ({"Endpoint": ""}, Pong(0.327, "unknown")),
        ({"Err": "timeout"}, NoPong("no-reply", "timeout")),
        ({"Err": "100.64.0.2 is local Tailscale IP"}, NoPong("local", "100.64.0.2 is local Tailscale IP")),
        ({"Err": "no matching peer"}, NoPong("no-peer", "no matching peer")),
        ({"Err": "dial unix: connection refused"}, NoPong("probe-failed", "dial unix: connection refused")),
        ({"LatencySeconds": True}, NoPong("unreadable", "malformed ping result")),
        ({"LatencySeconds": -1}, NoPong("unreadable", "malformed ping result")),
        ({"LatencySeconds": None}, NoPong("probe-failed", "no latency")),
        ({"Err": 5}, NoPong("unreadable", "malformed ping result")),
        ({"Endpoint": "a\nb\u202e"}, Pong(0.327, "direct", "a?b?")),
    ],
)
def test_results_of_the_local_api(change: dict[str, object], expected: PingResult) -> None:
    assert parse_ping_results([{**API_PONG, **change}]) == [expected]
    assert parse_ping_results({"pings": [{**API_PONG, **change}]}) == [expected]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*API_PONG, "pings"]), inner),
    max_leaves=12,
)


@given(_JSON)
def test_no_json_raises(value: object) -> None:
    for result in parse_ping_results(value):
        assert isinstance(result, (Pong, NoPong))
        assert isinstance(result, NoPong) or 0 <= result.latency_ms <= 3_600_000


def test_what_json_can_hold_beyond_python_s_floats() -> None:
    text = '[{"LatencySeconds": 1e999}, {"LatencySeconds": NaN}, {"LatencySeconds": ' + "9" * 400 + "}]"
    assert all(isinstance(result, NoPong) for result in parse_ping_results(json.loads(text)))


def test_statistics_leave_out_what_did_not_answer() -> None:
    results: list[PingResult] = [
        Pong(12.0, "direct"),
        NoPong("no-reply"),
        Pong(0.0, "direct"),
        Pong(24.0, "derp", None, "fra"),
    ]
    assert ping_stats(results) == {"min": 0.0, "max": 24.0, "avg": 12.0, "count": 3}
    assert ping_stats([NoPong("no-reply")]) == {"min": None, "max": None, "avg": None, "count": 0}
