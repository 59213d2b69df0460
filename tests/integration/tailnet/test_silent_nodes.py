"""Missing nodes: every way in which a node can go missing is alerted, and shown everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.chain import START, Chain, answers, chain, peer, round_at

MINUTE = timedelta(minutes=1)
GOOD = {"git": peer("git"), "dev": peer("dev")}
PONGS = {"git": answers(), "dev": answers()}
NO_PEER = [{"Err": "no matching peer"}] * 6
TIMEOUT: list[dict[str, object]] = [{"Err": "no reply within 2 s"}] * 6
EXPIRED = "2026-11-24T06:20:00Z"


@dataclass(frozen=True)
class Case:
    """What every round looks like from the thirtieth minute on, and what has to be said of it."""

    peers: Mapping[str, Mapping[str, object]]
    pings: Mapping[str, object]
    evidence: str
    told: str
    node: str = "git"
    good_first: bool = True


CASES = {
    "deleted, logged out, ephemeral or renamed": Case(
        {"dev": peer("dev")}, {"dev": answers()}, "absent", "git is not in the tailnet"
    ),
    "renamed after a reboot": Case(
        {"dev": peer("dev"), "git-1": peer("git-1", "ip-10-0-0-7")},
        {"dev": answers(), "git-1": answers()},
        "absent",
        "git is not in the tailnet",
    ),
    "never there (misspelt)": Case(
        {"dev": peer("dev")}, {"dev": answers()}, "absent", "gti is not in the tailnet", "gti", False
    ),
    "twins": Case(
        {f"vm-{n}.tail.test": peer(f"vm-{n}", "vm", Online=n == 1) for n in (1, 2)} | {"dev": peer("dev")},
        {"vm-1.tail.test": answers(), "dev": answers()},
        "ambiguous",
        "vm is the name of several nodes: vm-1.tail.test, vm-2.tail.test",
        "vm",
        False,
    ),
    "the daemon refuses to ping": Case(
        GOOD, {"git": NO_PEER, "dev": answers()}, "not-probed", "git could not be probed: no matching peer"
    ),
    "listed, and no ping was sent": Case(
        GOOD, {"dev": answers()}, "not-probed", "git could not be probed: no ping was sent"
    ),
    "no ping answered, online not known": Case(
        {"git": peer("git", Online=None), "dev": peer("dev")},
        {"git": TIMEOUT, "dev": answers()},
        "no-answer",
        "git answers no ping, and the control server does not say whether it is online",
    ),
    "key expired": Case(
        {"git": peer("git", Expired=True, KeyExpiry=EXPIRED), "dev": peer("dev")},
        {"git": [{"Err": "peer's node key has expired"}] * 6, "dev": answers()},
        "key-expired",
        "git answers no ping: its key expired at 2026-11-24 06:20 UTC",
    ),
}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Chain]]:
    """Makes a chain that watches these nodes."""
    opened = []

    def make(*nodes: str) -> Chain:
        context = chain(tmp_path, nodes)
        opened.append(context)
        return context.__enter__()

    yield make
    for context in opened:
        context.__exit__(None, None, None)


def play(made: Chain, case: Case, minutes: int) -> None:
    """Thirty good rounds, where they belong to the case, and then the case's."""
    for minute in range(minutes):
        at = START + minute * MINUTE
        good = case.good_first and minute < 30
        line = round_at(at, GOOD, PONGS) if good else round_at(at, case.peers, case.pings)  # type: ignore[arg-type]
        made.take(line, at)


@pytest.mark.parametrize("name", CASES)
def test_a_node_that_is_not_seen_is_told_and_shown(name: str, watched: Callable[..., Chain]) -> None:
    case = CASES[name]
    made = watched(case.node, "dev")
    begin = 30 if case.good_first else 0
    play(made, case, begin + 15)
    assert [text for text in made.messages if "CRITICAL" in text] == []
    play_on(made, case, begin + 15, begin + 120)
    made.tick()
    [told] = [text for text in made.messages if case.node in text and "key of" not in text]
    assert told.startswith(f"🚨 CRITICAL {case.told}; since {START + begin * MINUTE:%H:%M} UTC")
    assert made.check().passed is (case.evidence == "key-expired")
    assert not any("fresh round" in text for text in made.messages)
    health = made.healthz()
    if case.evidence != "key-expired":
        assert case.told in made.check().summary
        assert (health.ok, case.told in health.detail) == (False, True)
    shown = made.node(case.node)
    assert (shown.evidence, shown.reason) == (case.evidence, case.told)
    wanted = 30 / 150 if case.good_first else 0.0
    assert shown.day.availability == made.summary(case.node).availability == pytest.approx(wanted)
    assert made.node("dev").day.availability == made.summary("dev").availability == 1.0


def play_on(made: Chain, case: Case, start: int, end: int) -> None:
    """More of the case's rounds."""
    for minute in range(start, end):
        at = START + minute * MINUTE
        made.take(round_at(at, case.peers, case.pings), at)  # type: ignore[arg-type]


def test_the_only_critical_node_gone_is_told_as_that_node_s(watched: Callable[..., Chain]) -> None:
    made = watched("git")
    for minute in range(60):
        at = START + minute * MINUTE
        made.take(round_at(at, {}, {}), at)
    assert [text.partition(";")[0] for text in made.messages] == ["🚨 CRITICAL git is not in the tailnet"]


def test_most_nodes_gone_is_not_said_to_be_the_uplink(watched: Callable[..., Chain]) -> None:
    made = watched("git", "dev")
    for minute in range(30):
        at = START + minute * MINUTE
        made.take(round_at(at, {}, {}), at)
    assert [text.partition(";")[0] for text in made.messages] == ["🚨 CRITICAL 2 changes"]


def test_a_daemon_that_stopped_is_the_reason_and_no_node_is_blamed(watched: Callable[..., Chain]) -> None:
    made = watched("git", "dev")
    why = "tailscaled is not running: NeedsLogin"
    for minute in range(90):
        at = START + minute * MINUTE
        stopped = {"state": "NeedsLogin", "error": why} if minute >= 30 else {}
        made.take(round_at(at, {} if stopped else GOOD, {} if stopped else PONGS, **stopped), at)
    [told] = made.messages
    assert f"rounds arrive, but none could be taken: {why}" in told
    assert made.summary("git").availability == 1.0
    health = made.healthz()
    assert (health.ok, why in health.detail) == (False, True)
    assert not made.missing().passed


def test_it_is_over_when_the_node_is_back(watched: Callable[..., Chain]) -> None:
    made = watched("git", "dev")
    play(made, CASES["deleted, logged out, ephemeral or renamed"], 60)
    for minute in range(60, 70):
        at = START + minute * MINUTE
        made.take(round_at(at, GOOD, PONGS), at)
    assert [text.split(";")[0] for text in made.messages][-1] == "✅ RESOLVED git answers again"
    assert made.check().passed
    assert made.healthz().ok


def test_ways_of_being_silent_that_take_turns_are_one_silence(watched: Callable[..., Chain]) -> None:
    made = watched("git", "dev")
    for minute in range(40):
        at = START + minute * MINUTE
        gone = minute // 8 % 2 == 0
        peers = {"dev": peer("dev")} if gone else GOOD
        made.take(round_at(at, peers, {"git": TIMEOUT, "dev": answers()}), at)
    assert len([text for text in made.messages if "CRITICAL" in text]) == 1


@pytest.mark.parametrize("interval_s", [10, 60, 300, 1200, 3600])
def test_rules_checks_and_freshness_follow_the_interval(
    interval_s: int, watched: Callable[..., Chain]
) -> None:
    made = watched("git", "dev")
    interval = timedelta(seconds=interval_s)
    good, bad = max(13, 3600 // interval_s + 1), max(3, 1200 // interval_s)
    for number in range(good + bad):
        at = START + number * interval
        made.take(round_at(at, GOOD, PONGS if number < good else PONGS | {"git": answers("fra")}), at)
        if number == good - 1:
            made.tick()
            assert made.missing().passed, made.missing().summary
            assert made.healthz().ok, made.healthz().detail
            assert made.path().passed
    made.tick()
    assert not made.path().passed
    [told] = made.messages
    assert told.startswith("⚠️ WARNING git is reached through DERP relay fra")
    assert made.node("git").day.availability == 1.0
    made.now += timedelta(minutes=20) + 3 * interval
    made.tick()
    assert "no fresh round of any node" in made.messages[-1]


@pytest.mark.parametrize("interval_s", [10, 300, 1200, 3600])
def test_silence_latency_and_their_ends_are_told_at_any_interval(
    interval_s: int, watched: Callable[..., Chain]
) -> None:
    made = watched("git", "dev")
    interval = timedelta(seconds=interval_s)
    slow: list[dict[str, object]] = [{"LatencySeconds": 0.4, "Endpoint": "10.88.2.2:41641"}] * 6
    bad = max(3, 1200 // interval_s)
    for number in range(3 * bad):
        at = START + number * interval
        now_bad = bad <= number < 2 * bad
        pings: dict[str, list[dict[str, object]]] = {"git": slow, "dev": TIMEOUT} if now_bad else PONGS
        made.take(round_at(at, GOOD, pings), at)
    made.tick()
    begin = START + bad * interval
    told = [text for text in made.messages if "CRITICAL dev" in text]
    assert [text.split(";")[0] for text in told] == ["🚨 CRITICAL dev answers no ping (unreachable)"]
    assert f"since {begin:%H:%M} UTC" in told[0]
    [latency] = [text for text in made.messages if "WARNING high latency to git" in text]
    assert "over 100 ms" in latency
    assert any("RESOLVED" in text and "dev answers again" in text for text in made.messages)
    assert any("RESOLVED" in text and "latency to git is back" in text for text in made.messages)
    assert not any("fresh round" in text for text in made.messages)


def test_a_node_that_the_sampler_was_not_told_of_is_told_with_the_setting(
    watched: Callable[..., Chain],
) -> None:
    made = watched("git", "dev")
    wanted = "git is not sampled: add it to SAMPLE_HOSTS of the sidecar"
    pings = [{"Endpoint": "10.88.2.2:41641", "LatencySeconds": [0.012] * 6}]
    for minute in range(20):
        at = START + minute * MINUTE
        nodes = {"dev": {**peer("dev"), "pings": pings}}
        made.take(round_at(at, {}, {}, v=2, interval=60, every=False, nodes=nodes), at)
    made.tick()
    [told] = made.messages
    assert told.startswith(f"🚨 CRITICAL {wanted}; since {START:%H:%M} UTC")
    assert made.check().summary == wanted
    assert (made.healthz().ok, wanted in made.healthz().detail) == (False, True)
    assert (made.node("git").evidence, made.node("git").reason) == ("not-sampled", wanted)
    assert made.node("dev").day.availability == 1.0


def test_rounds_that_were_due_and_not_taken_are_missing(watched: Callable[..., Chain]) -> None:
    made = watched("git", "dev")
    for minute in range(70):
        at = START + minute * MINUTE
        late = {"state": "Unknown", "error": "the round before took too long"} if minute % 3 else {}
        made.take(round_at(at, {} if late else GOOD, {} if late else PONGS, **late), at)
    assert made.missing().summary == "40 of 60 rounds are missing"


@pytest.mark.parametrize("whose", ["git", "observer"])
def test_a_key_is_told_14_3_and_1_days_before_and_when_it_was_renewed(
    whose: str, watched: Callable[..., Chain]
) -> None:
    made = watched("git", "dev")
    expiry, told_after = START + timedelta(days=15), {}
    for hour in range(0, 15 * 24, 6):
        at = START + timedelta(hours=hour)
        renewed = hour >= 14.5 * 24
        keys = {"KeyExpiry": ("2027-05-01T00:00:00Z" if renewed else expiry.isoformat())}
        node = peer(whose, **keys)
        peers = GOOD | {"git": node} if whose == "git" else GOOD
        made.take(round_at(at, peers, PONGS, **({} if whose == "git" else {"self": node})), at)
        made.now = at
        made.tick()
        told_after[hour] = len([text for text in made.messages if f"the key of {whose}" in text])
    texts = [text for text in made.messages if f"the key of {whose}" in text]
    assert [hour for hour in told_after if told_after[hour] > told_after.get(hour - 6, 0)] == [
        24,
        288,
        336,
        348,
    ]
    assert "expires at 2026-12-09 06:00 UTC, in 14 days: log in again there" in texts[0]
    assert [
        part for text, part in zip(texts[1:3], ("in 3 days", "in 24 hours"), strict=True) if part in text
    ] == ["in 3 days", "in 24 hours"]
    assert texts[3].startswith(f"✅ RESOLVED the key of {whose} is valid again")


def test_the_sidecar_s_own_key_is_told_as_well(watched: Callable[..., Chain]) -> None:
    made = watched("git", "dev")
    own = peer("observer", KeyExpiry=(START + timedelta(hours=20)).isoformat())
    for minute in range(7):
        at = START + minute * MINUTE
        made.take(round_at(at, GOOD, PONGS, self=own), at)
    [told] = made.messages
    assert "the key of observer (the sidecar's own node) expires at 2026-11-25 02:00 UTC, in 20 hours" in told
