"""The rules: what fires, what resolves, what is ignored, and independence of ticks and restarts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.alert_rows import DAY, MINUTE, limit_of, paths, row, rows
from tsobs_pipelines.alerting.evaluation import step_topics
from tsobs_pipelines.alerting.evidence import ForecastObservation
from tsobs_pipelines.alerting.machine import (
    Change,
    Confirmation,
    Kind,
    Signal,
    TopicState,
    Verdict,
    Voice,
    advance,
)
from tsobs_pipelines.alerting.rules.collection import freshness_signal
from tsobs_pipelines.alerting.rules.latency import LATENCY, latency_signals
from tsobs_pipelines.alerting.rules.mae import MAE, mae_signals
from tsobs_pipelines.alerting.rules.node_silence import NODE_SILENCE, silence_signals
from tsobs_pipelines.alerting.rules.relay import RELAY, relay_signals
from tsobs_pipelines.alerting.rules.skill import skill_signals
from tsobs_pipelines.timeseries.schema import ConnectionRow


def latency(data: Sequence[ConnectionRow], limit: float = 100.0) -> list[Change]:
    return step_topics(LATENCY, {}, latency_signals(data, limit_of(limit)))[1]


def relay(data: Sequence[ConnectionRow]) -> list[Change]:
    return step_topics(RELAY, {}, relay_signals(data))[1]


def silence(data: Sequence[ConnectionRow]) -> list[Change]:
    return step_topics(NODE_SILENCE, {}, silence_signals(data))[1]


def said(changes: Sequence[Change]) -> list[tuple[str, int]]:
    return [(change.kind.value, round((change.at - DAY) / MINUTE)) for change in changes]


def test_five_minute_mean_over_the_threshold_fires_and_two_calm_ones_resolve() -> None:
    changes = latency(rows([20] * 5 + [110] * 5 + [20] * 10))
    assert said(changes) == [("firing", 10), ("resolved", 20)]
    assert changes[0].topic == "latency_git"
    assert changes[0].since == DAY + 5 * MINUTE
    assert changes[0].value == pytest.approx(110)
    assert changes[1].until == DAY + 10 * MINUTE


@pytest.mark.parametrize(
    ("bucket", "fires"),
    [([100] * 5, False), ([100.1] * 5, True), ([300, 20, 20, 20, 20], False), ([500, 20, 20, 20, 20], True)],
)
def test_it_is_the_mean_that_counts_and_the_threshold_itself_is_fine(
    bucket: list[float], fires: bool
) -> None:
    assert bool(latency(rows(bucket))) is fires


def test_between_80_and_100_nothing_resolves_and_80_does() -> None:
    assert said(latency(rows([150] * 5 + [81] * 60))) == [("firing", 5)]
    assert said(latency(rows([150] * 5 + [80] * 5 + [90] * 5 + [80] * 5 + [80] * 5))) == [
        ("firing", 5),
        ("resolved", 25),
    ]


def test_rounds_without_a_pong_say_nothing_about_latency() -> None:
    data = rows([150] * 5 + [None] * 30 + [20] * 10)
    assert said(latency(data)) == [("firing", 5), ("resolved", 45)]


def test_a_node_has_its_own_threshold() -> None:
    data = rows([120] * 5) + rows([120] * 5, host="far")
    found = latency_signals(data, lambda host: 150.0 if host == "far" else 100.0)
    assert [change.topic for change in step_topics(LATENCY, {}, found)[1]] == ["latency_git"]


def test_two_relayed_rounds_fire_and_two_direct_ones_resolve() -> None:
    changes = relay(paths("dddrrrdd"))
    assert said(changes) == [("firing", 4), ("resolved", 7)]
    assert (changes[0].detail, changes[1].detail) == ("fra", "fra")
    assert changes[0].since == DAY + 3 * MINUTE


def test_first_seen_relayed_fires() -> None:
    assert said(relay(paths("rr"))) == [("firing", 1)]


@pytest.mark.parametrize(
    "text", ["drdrdrdr", "dddd", "uuuu", "oooo", "xxxx", "dooooood", "dxuoxd", "dpppp", "rp"]
)
def test_what_does_not_fire(text: str) -> None:
    assert relay(paths(text)) == []


def test_unknown_offline_and_unreachable_neither_fire_nor_reset() -> None:
    assert said(relay(paths("ruoxr"))) == [("firing", 4)]
    assert said(relay(paths("rrduoxd"))) == [("firing", 1), ("resolved", 6)]
    assert said(relay(paths("rr" + "o" * 60))) == [("firing", 1)]


def test_evidence_long_past_is_not_in_a_row() -> None:
    assert relay(paths("r" + "o" * 20 + "r")) == []


def test_a_peer_relay_ends_a_relay_alert() -> None:
    assert said(relay(paths("rrpp"))) == [("firing", 1), ("resolved", 3)]


def test_a_node_that_answers_nothing_for_15_minutes_is_silent() -> None:
    assert silence(paths("d" + "x" * 15 + "d")) == []
    changes = silence(paths("d" + "o" * 20 + "d"))
    assert said(changes) == [("firing", 16), ("resolved", 21)]
    assert changes[0].since == DAY + MINUTE


def test_the_collection_is_silent_after_15_minutes() -> None:
    assert freshness_signal(DAY, DAY + 15 * MINUTE, "").verdict is Verdict.GOOD
    late = freshness_signal(DAY, DAY + 16 * MINUTE, "the sidecar does not answer")
    assert (late.verdict, late.begin, late.value) == (Verdict.BAD, DAY, 16)


def observation(hour: int, mae: float | None, **others: float | None) -> ForecastObservation:
    values = {"baseline": 0.01, **others}
    return ForecastObservation("m", DAY + hour * 60 * MINUTE, mae, **values)


def test_mae_above_twice_the_baseline_fires_strictly() -> None:
    seen = [observation(0, 0.02), observation(1, 0.0201), observation(2, 0.017), observation(3, 0.016)]
    seen.append(observation(4, 0.01))
    assert said(step_topics(MAE, {}, mae_signals(seen))[1]) == [("firing", 60), ("resolved", 240)]


def test_without_a_baseline_there_is_no_verdict() -> None:
    assert mae_signals([observation(0, 9.0, baseline=None), observation(1, None)]) == {}


def test_the_message_says_whether_the_naive_forecast_failed_as_well() -> None:
    moved = mae_signals([observation(0, 0.03, naive_mae=0.04, naive_baseline=0.012)])["m"][0]
    model = mae_signals([observation(0, 0.03, naive_mae=0.012, naive_baseline=0.012)])["m"][0]
    assert "the market moved" in moved.detail
    assert "look at the model" in model.detail


def test_skill_is_judged_by_the_week() -> None:
    signals = skill_signals([observation(0, None, week_ratio=1.6, week_limit=1.5), observation(1, 0.1)])["m"]
    assert [signal.verdict for signal in signals] == [Verdict.BAD]


@pytest.mark.parametrize("text", ["dr", "ddrr", "dddrrr", "dddddrrrrr", "drrrr", "rrrrd"])
def test_flapping_for_30_minutes_says_two_things_at_most(text: str) -> None:
    flapping = (text * 30)[:30]
    changes = relay(paths("d" * 10 + flapping + "d" * 60))
    assert len([change for change in changes if change.voice is not Voice.HELD]) <= 2
    assert spoken_last(changes) in {None, Kind.RESOLVED}


def spoken_last(changes: Sequence[Change]) -> Kind | None:
    return next((change.kind for change in reversed(changes) if change.voice is not Voice.HELD), None)


def test_what_was_held_back_is_said_when_it_lasts() -> None:
    changes = relay(paths("rrddrr" + "r" * 60))
    assert [(change.kind, change.voice) for change in changes] == [
        (Kind.FIRING, Voice.NOW),
        (Kind.RESOLVED, Voice.NOW),
        (Kind.FIRING, Voice.HELD),
        (Kind.FIRING, Voice.LATE),
    ]
    assert changes[-1].at - changes[0].at == timedelta(minutes=30)
    assert changes[-1].since == DAY + 4 * MINUTE


def test_a_day_of_flapping_says_little() -> None:
    changes = relay(paths("ddrr" * 360))
    spoken = [change for change in changes if change.voice is not Voice.HELD]
    assert len(changes) > 700
    assert len(spoken) <= 16


def test_after_a_quiet_time_a_topic_speaks_at_once_again() -> None:
    changes = relay(paths("ddrr" * 15 + "d" * 300 + "rr"))
    assert (changes[-1].kind, changes[-1].voice, changes[-1].flaps) == (Kind.FIRING, Voice.NOW, 0)


signals = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from(list(Verdict)), st.floats(1, 300)), min_size=1, max_size=80
)


@settings(max_examples=200, deadline=None)
@given(
    signals,
    st.lists(st.integers(0, 80), max_size=8),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 20),
)
def test_the_cuts_between_ticks_and_restarts_do_not_matter(
    raw: list[tuple[int, Verdict, float]], cuts: list[int], bad: int, good: int, minutes: int
) -> None:
    confirmation = Confirmation(bad, good, minutes * MINUTE, 60 * MINUTE)
    times = [DAY + sum(step for step, _, _ in raw[: i + 1]) * MINUTE for i in range(len(raw))]
    all_signals = [
        Signal(time, time - MINUTE, verdict, value, 100.0, "x")
        for time, (_, verdict, value) in zip(times, raw, strict=True)
    ]
    whole, expected = advance(TopicState("t", "s"), all_signals, confirmation)
    state, found = TopicState("t", "s"), []
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    for start, end in itertools.pairwise(edges):
        # Overlapping input, and a restart between any two ticks.
        overlap = max(0, start - 3)
        state, changes = advance(
            TopicState.from_json(state.to_json()), all_signals[overlap:end], confirmation
        )
        found += changes
    assert found == expected
    assert state == whole
    spoken = [change for change in found if change.voice is not Voice.HELD]
    for first, third in zip(spoken, spoken[2:], strict=False):
        assert third.at - first.at >= timedelta(minutes=30)
    for before, after in itertools.pairwise(spoken):
        assert before.kind is not after.kind


def test_rows_in_any_number_of_pieces_of_whole_buckets() -> None:
    numbers = random.Random(4)  # noqa: S311 - data, not secrets
    data = rows([numbers.choice([20.0, 70.0, 95.0, 130.0, 300.0]) for _ in range(1440)])
    expected = latency(data)
    for minutes in (5, 60, 720):
        states: dict[str, TopicState] = {}
        found: list[Change] = []
        for start in range(0, 1440, minutes):
            moved, changes = step_topics(
                LATENCY, states, latency_signals(data[start : start + minutes], limit_of())
            )
            states |= moved
            found += changes
        assert found == expected
    assert len(expected) > 10


def test_one_row_alone() -> None:
    assert said(latency([row(7, 101.0)])) == [("firing", 10)]
