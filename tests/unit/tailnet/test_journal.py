"""Reading the journal: complete, truncated, hostile, and split at any byte."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.journals import minutes, round_line
from tsobs_pipelines.tailnet.journal import MAX_LINE, JournalCounts, read_rounds
from tsobs_pipelines.tailnet.peers import OWN, AmbiguousPeerError, NotSampledError, UnknownPeerError
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet.rows import connection_rows

START = datetime(2026, 11, 20, tzinfo=UTC)
HEAD = {"v": 1, "at": "2026-11-20T00:00:00Z", "state": "Running"}


def line(**changes: object) -> bytes:
    return json.dumps({**HEAD, **changes}).encode() + b"\n"


def read(*chunks: bytes, day: date | None = None) -> tuple[list[Round], JournalCounts]:
    counts = JournalCounts()
    return list(read_rounds(chunks, counts, day)), counts


def test_a_round_as_the_sidecar_writes_it() -> None:
    [this], counts = read(round_line(START, 12.0))
    assert (this.at, this.daemon, this.taken) == (START, "1.102.5", True)
    assert this.peers["git"].host_name == "git"
    assert [ping.seconds for ping in this.pings["git"]] == [0.036, *[0.012] * 5]
    assert (counts.lines, counts.rounds, counts.skipped_total, counts.duplicates) == (1, 1, 0, 0)
    assert counts.bytes == len(round_line(START, 12.0))


def version_2(**changes: object) -> bytes:
    """A line of version 2 as the sidecar writes it."""
    status = {"HostName": "git", "DNSName": "git.tail.test.", "TailscaleIPs": ["100.64.0.2"], "Online": True}
    value = {
        "v": 2,
        "at": "2026-11-20T00:00:00Z",
        "interval": 30,
        "took": 0.125,
        "daemon": "1.102.5",
        "state": "Running",
        "every": False,
        "self": {"HostName": "observer", "DNSName": "observer.tail.test."},
        "nodes": {
            "git": {
                **status,
                "TxBytes": 7,
                "RxBytes": 8,
                "pings": [
                    {"DERPRegionID": 9, "DERPRegionCode": "fra", "LatencySeconds": [0.02]},
                    {"Endpoint": "10.88.2.2:41641", "LatencySeconds": [0.001, 0.002, 0.003]},
                    {"Err": "no reply within 2 s", "times": 2},
                ],
            },
            "gone": {"unprobed": "absent"},
            "twin": {"unprobed": "ambiguous", "nodes": ["twin-1.tail.test", "twin-2.tail.test"]},
            "own": {"unprobed": "self"},
            "late": {**status, "DNSName": "late.tail.test.", "unprobed": "out-of-time", "pings": []},
            "nowhere": {"HostName": "nowhere", "unprobed": "no-address"},
        },
    }
    return json.dumps({**value, **changes}).encode() + b"\n"


def test_a_round_of_version_2_has_all_that_one_of_version_1_has() -> None:
    [this], counts = read(version_2())
    assert (this.at, this.daemon, this.taken, counts.skipped_total) == (START, "1.102.5", True, 0)
    assert (this.interval_s, this.took_s, this.every) == (30, 0.125, False)
    git = this.peers["git"]
    assert (git.host_name, git.online, git.tx_bytes, git.rx_bytes) == ("git", True, 7, 8)
    assert [ping.seconds for ping in this.pings["git"]] == [0.02, 0.001, 0.002, 0.003, None, None]
    assert [ping.endpoint for ping in this.pings["git"]] == ["", *["10.88.2.2:41641"] * 3, "", ""]
    assert [ping.region_code for ping in this.pings["git"]] == ["fra", *[""] * 5]
    assert {ping.err for ping in this.pings["git"][4:]} == {"no reply within 2 s"}


def test_a_name_without_a_verdict_says_why() -> None:
    [this], _ = read(version_2())
    assert {name: why.reason for name, why in this.unprobed.items()} == {
        "gone": "absent",
        "twin": "ambiguous",
        "own": "self",
        "late": "out-of-time",
        "nowhere": "no-address",
    }
    assert [this.find(name) for name in ("git", "late", "nowhere")] == ["git", "late", "nowhere"]
    assert [this.find(name) for name in ("GIT", "git.", "git.tail.test")] == ["git"] * 3
    with pytest.raises(AmbiguousPeerError, match=r"twin-1\.tail\.test, twin-2\.tail\.test"):
        this.find("twin")
    with pytest.raises(UnknownPeerError) as absent:
        this.find("gone")
    assert not isinstance(absent.value, NotSampledError)
    assert this.find("own") == OWN
    with pytest.raises(NotSampledError):
        this.find("nobody asked for this one")


def test_a_node_that_was_sampled_by_two_of_its_names_is_one() -> None:
    value = json.loads(version_2())
    value["nodes"]["100.64.0.2"] = value["nodes"]["git"]
    [this], _ = read(json.dumps(value).encode() + b"\n")
    assert this.find("git") == "git"
    assert this.find("git.tail.test") in {"git", "100.64.0.2"}


def test_where_every_peer_is_sampled_a_name_that_is_not_there_is_absent() -> None:
    [this], _ = read(version_2(every=True))
    with pytest.raises(UnknownPeerError) as absent:
        this.find("nobody")
    assert not isinstance(absent.value, NotSampledError)


@pytest.mark.parametrize("pings", [5, "x", [5], [{"LatencySeconds": [-1]}], [{"Err": "x", "times": 10**9}]])
def test_one_malformed_node_of_version_2_costs_itself(pings: object) -> None:
    value = json.loads(version_2())
    value["nodes"]["git"]["pings"] = pings
    value["nodes"]["git"]["TxBytes"] = "many"
    value["nodes"]["gone"] = 5
    [this], counts = read(json.dumps(value).encode() + b"\n")
    assert (counts.rounds, counts.skipped_total) == (1, 0)
    assert [ping.err for ping in this.pings["git"]] == ["malformed ping result"]
    assert (this.peers["git"].tx_bytes, this.peers["git"].rx_bytes) == (None, 8)
    assert this.unprobed["twin"].reason == "ambiguous"


@pytest.mark.parametrize("odd", [-0.000001, 1e300, 3600.5, None, "0.01", True, [], 1.7976931348623157e308])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_an_odd_latency_costs_its_ping_alone(odd: object, place: int) -> None:
    latencies: list[object] = [0.01] * 6
    latencies[place] = odd
    value = json.loads(version_2())
    value["nodes"]["git"]["pings"] = [{"Endpoint": "10.88.2.2:41641", "LatencySeconds": latencies}]
    [row] = connection_rows(read(json.dumps(value).encode())[0], ["git"], "default")
    assert (row.connection_type, row.evidence, row.answered) == ("direct", None, 1)
    assert (row.pings_sent, row.pings_received, row.latency_max) == (6, 5, 10.0)
    assert (row.latency_cold is None) is (place == 0)


def test_an_odd_member_of_a_run_costs_itself() -> None:
    value = json.loads(version_2())
    run = {"Endpoint": 5, "LatencySeconds": [0.01, 0.02]}
    value["nodes"]["git"]["pings"] = [run, {**run, "Err": 7}]
    [this], _ = read(json.dumps(value).encode())
    assert [(ping.seconds, ping.err) for ping in this.pings["git"]] == [
        (0.01, ""),
        (0.02, ""),
        *[(None, "malformed ping result")] * 2,
    ]


def test_a_round_that_could_not_be_taken_is_a_round() -> None:
    rounds, counts = read(line(state="Stopped"), line(at="2026-11-20T00:01:00Z", state="", error="no socket"))
    assert [(this.taken, this.error) for this in rounds] == [(False, ""), (False, "no socket")]
    assert counts.rounds == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"v":1,"at":"2026-11-20T', "torn"),
        (b'{"v":1,"at":"2026-11-20T{"v":1}\n', "malformed"),
        (b"not json\n", "malformed"),
        (b"\xff\xfe\x00\n", "malformed"),
        (b"[" * 100_000 + b"\n", "malformed"),
        (b'{"v":1,"at":NaN}\n', "malformed"),
        (b"[]\n", "wrong-type"),
        (b"null\n", "wrong-type"),
        (b'"2026"\n', "wrong-type"),
        (b"{}\n", "wrong-type"),
        (line(v=3), "version"),
        (line(v=3, at={"seconds": 5}, peers=[]), "version"),
        (line(v=2, at={"seconds": 5}), "wrong-type"),
        (line(v=2, nodes=[]), "wrong-type"),
        (line(v=2, peers={}, pings={}), "wrong-type"),
        (line(v=0), "version"),
        (line(v="1"), "wrong-type"),
        (line(v=True), "wrong-type"),
        (line(at=None), "wrong-type"),
        (line(at=1_700_000_000), "wrong-type"),
        (line(at="2026-11-20T00:00:00"), "wrong-type"),
        (line(at="yesterday"), "wrong-type"),
        (line(at="0001-01-01T00:00:00+23:00"), "wrong-type"),
        (line(peers=[1]), "wrong-type"),
        (line(pings="git"), "wrong-type"),
        (line(state=5), "wrong-type"),
        (b'{"v":1,"pad":"' + b"x" * MAX_LINE + b'"}\n', "too-long"),
        (b"x" * (20 * 2**20) + b"\n", "too-long"),
        (b"x" * (MAX_LINE + 1), "too-long"),
    ],
)
def test_what_cannot_be_read_is_skipped_and_counted(text: bytes, reason: str) -> None:
    before, after = round_line(START), round_line(START + timedelta(minutes=1))
    chunks = (before, text) if not text.endswith(b"\n") else (before, text, after)
    rounds, counts = read(*chunks)
    assert dict(counts.skipped) == {reason: 1}
    assert (len(rounds), counts.lines) == (len(chunks) - 1, len(chunks))


def test_wrong_types_about_one_node_cost_that_node_alone() -> None:
    value = json.loads(round_line(START))
    value["peers"]["git"] |= {"TxBytes": -1, "Online": "yes"}
    value["peers"]["chocolate-factory"] = None
    value["pings"]["git"][2] = {"LatencySeconds": "fast"}
    value["pings"]["chocolate-factory"] = {"Err": "timeout"}
    value["netcheck"] = {"UDP": True, "RegionLatency": {"4": "x"}, "PreferredDERP": None}
    value["self"] = "watcher"
    [this], counts = read(json.dumps(value).encode())
    assert counts.skipped_total == 0
    assert this.peers["git"].rx_bytes is not None
    assert (this.peers["git"].tx_bytes, this.peers["git"].online) == (None, None)
    assert [bool(ping.err) for ping in this.pings["git"]] == [False, False, True, False, False, False]
    assert "chocolate-factory" not in this.peers
    assert [ping.err for ping in this.pings["chocolate-factory"]] == ["timeout"]
    assert this.peers["chocolate-factory-dev"].tx_bytes is not None
    assert this.netcheck is not None
    assert (this.netcheck.udp, this.netcheck.region_ns) == (True, None)
    assert this.own is not None
    assert this.own.host_name == "watcher"


def test_a_last_line_that_only_lacks_its_end_counts() -> None:
    rounds, counts = read(round_line(START).rstrip(b"\n"))
    assert (len(rounds), counts.skipped_total) == (1, 0)


def test_a_clock_that_jumped_back_gives_rounds_in_the_order_of_the_file_and_duplicates() -> None:
    times = [*minutes(START, 5), *minutes(START + timedelta(minutes=3), 4)]
    rounds, counts = read(*(round_line(at, 10.0 + place) for place, at in enumerate(times)))
    assert [this.at for this in rounds] == minutes(START, 7)
    assert (counts.duplicates, counts.rounds, counts.lines) == (2, 7, 9)
    assert rounds[3].pings["git"][1].seconds == pytest.approx(0.013), "the first of two rounds counts"


def test_a_time_with_an_offset_is_the_same_moment_in_utc() -> None:
    [this], counts = read(line(at="2026-11-20T01:00:00+01:00"), line())
    assert this.at == START
    assert this.at.tzinfo is UTC
    assert counts.duplicates == 1


def test_a_day_holds_its_own_rounds_only() -> None:
    rounds, counts = read(
        *(round_line(at) for at in minutes(START - timedelta(minutes=1), 3)), day=START.date()
    )
    assert [this.at for this in rounds] == minutes(START, 2)
    assert dict(counts.skipped) == {"other-day": 1}


def test_blank_lines_are_no_lines() -> None:
    rounds, counts = read(b"\n  \n", round_line(START), b"\n")
    assert (len(rounds), counts.lines) == (1, 1)


_LINES = st.lists(
    st.one_of(
        st.integers(0, 5).map(lambda minute: round_line(START + timedelta(minutes=minute), nodes=("git",))),
        st.binary(max_size=40).map(lambda raw: raw + b"\n"),
        st.just(line(v=7)),
    ),
    max_size=8,
)


@given(_LINES, st.data())
def test_any_cut_of_the_bytes_reads_the_same(lines: list[bytes], data: st.DataObject) -> None:
    body = b"".join(lines)
    body = body[: data.draw(st.integers(0, len(body)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    parts = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert read(*parts) == read(body)
    _, counts = read(body)
    assert counts.lines == counts.rounds + counts.duplicates + counts.skipped_total


@given(st.binary(max_size=300))
def test_no_bytes_raise(raw: bytes) -> None:
    read(raw)
    read(b'{"v":1,"at":"2026-11-20T00:00:00Z",' + raw + b"}\n")


def test_memory_stays_with_one_line_however_long_the_journal() -> None:
    def endless() -> Iterator[bytes]:
        for at in minutes(START, 300):
            yield round_line(at)
        for _ in range(3):
            yield from (b"x" * 65_536 for _ in range(320))
            yield b"\n"

    counts = JournalCounts()
    tracemalloc.start()
    try:
        rounds = sum(1 for _ in read_rounds(endless(), counts))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (rounds, dict(counts.skipped)) == (300, {"too-long": 3})
    assert peak < MAX_LINE + 2**20
