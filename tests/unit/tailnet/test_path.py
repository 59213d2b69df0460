"""The rules that determine the path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.tailnet.localapi import ApiPing
from tsobs_pipelines.tailnet.node_pings import read_node_pings
from tsobs_pipelines.tailnet.path import Path, classify, was_sent
from tsobs_pipelines.tailnet.ping import NoPong, PingResult, Pong, ping_result

UDP = Pong(10.0, "direct", "10.0.0.1:41641")
DERP = Pong(30.0, "derp", None, "fra")
NYC = Pong(90.0, "derp", None, "nyc")
PEER = Pong(20.0, "peer-relay", "192.0.2.7:7:vni:1")
TSMP = Pong(5.0, "tsmp")
SILENCE = NoPong("no-reply")
EXPIRED = NoPong("key-expired")
BROKEN = NoPong("probe-failed")

DIRECT = Path("direct", "none", "10.0.0.1:41641")


@pytest.mark.parametrize(
    ("results", "online", "expected"),
    [
        pytest.param([DERP, UDP, UDP], True, DIRECT, id="cold ping over DERP"),
        pytest.param([UDP, DERP, DERP], True, Path("relay", "fra"), id="all warm pongs over DERP"),
        pytest.param([DERP, DERP, SILENCE], True, Path("relay", "fra"), id="warm pongs over DERP and a loss"),
        pytest.param([DERP, DERP, NYC], True, Path("relay", "nyc"), id="the last region"),
        pytest.param([DERP, DERP, UDP], True, DIRECT, id="last warm pong over UDP"),
        pytest.param([DERP, UDP, DERP], True, DIRECT, id="one DERP pong among direct ones"),
        pytest.param([DERP, UDP, SILENCE], True, DIRECT, id="loss at the end"),
        pytest.param([UDP, UDP, PEER], True, Path("peer-relay", "none", PEER.endpoint), id="peer relay"),
        pytest.param([PEER, PEER, UDP], True, DIRECT, id="from a peer relay to direct"),
        pytest.param([UDP, SILENCE, SILENCE], True, DIRECT, id="only the cold ping, over UDP"),
        pytest.param([DERP, SILENCE, SILENCE], True, Path("unknown"), id="only the cold ping, over DERP"),
        pytest.param([TSMP, TSMP], True, Path("unknown"), id="pongs that show no path"),
        pytest.param([SILENCE] * 6, True, Path("unreachable"), id="online and silent"),
        pytest.param([EXPIRED] * 6, True, Path("unreachable"), id="its key has expired"),
        pytest.param([SILENCE] * 6, False, Path("offline"), id="not online and silent"),
        pytest.param([], False, Path("offline"), id="not online and not pinged"),
        pytest.param([SILENCE] * 6, None, Path("unknown"), id="silent, and nobody knows whether online"),
        pytest.param([BROKEN] * 6, True, Path("unknown"), id="the probe failed"),
        pytest.param([BROKEN] * 6, False, Path("unknown"), id="the probe failed, not online"),
        pytest.param([BROKEN, SILENCE], True, Path("unreachable"), id="one probe failed"),
        pytest.param([], True, Path("unknown"), id="not probed"),
        pytest.param([SILENCE, UDP], False, DIRECT, id="a pong outweighs the control plane"),
    ],
)
def test_the_rules(results: list[PingResult], online: bool | None, expected: Path) -> None:
    assert classify(results, online) == expected


_PINGS = st.lists(
    st.builds(
        ApiPing,
        err=st.sampled_from(["", "", "", "timeout", "is local Tailscale IP", "broken"]),
        seconds=st.none() | st.floats(0, 3600),
        endpoint=st.sampled_from(["", "10.0.0.1:41641", "10.0.0.1:41641"]),
        peer_relay=st.sampled_from(["", "", "192.0.2.7:7:vni:1"]),
        region_id=st.sampled_from([0, 0, 9]),
        region_code=st.sampled_from(["", "fra"]),
    ),
    max_size=7,
)


@given(_PINGS, st.sampled_from([True, False, None]))
def test_a_journalled_burst_is_judged_by_the_same_rules(pings: list[ApiPing], online: bool | None) -> None:
    results = [ping_result(ping) for ping in pings]
    burst = read_node_pings(pings, online)
    assert burst.path == classify(results, online)
    assert burst.sent == sum(isinstance(result, Pong) or was_sent(result) for result in results)
    assert burst.received == sum(isinstance(result, Pong) for result in results)
    warm = [result.latency_ms for result in results[1:] if isinstance(result, Pong)]
    assert burst.warm_ms == pytest.approx(warm, abs=1e-3)
