"""The page's pure modules, in the browser that runs them: gaps, spans, totals, numbers, ticks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.support.lab.browser import chromium, visit
from tests.support.lab.live_api import live_api

MINUTE = 60_000
NOW = 1_764_000_000_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with (
        live_api(tmp_path_factory.mktemp("modules")) as api,
        chromium() as browser,
        visit(browser, f"{api.url}/vpn.html") as seen,
    ):
        yield seen.page


def call(page: Page, module: str, name: str, *arguments: object) -> object:
    """What a function of a module gives; its NaN arrives as the text NaN."""
    script = """async ([module, name, args]) => {
        const found = (await import(`/js/${module}.js`))[name](...args);
        return JSON.parse(JSON.stringify(found ?? null, (_, value) => (Number.isNaN(value) ? "NaN" : value)));
    }"""
    found: object = page.evaluate(script, [module, name, list(arguments)])
    return found


def point(minutes_ago: float, **other: object) -> dict[str, object]:
    x = NOW - minutes_ago * MINUTE
    usual = {"latency_ms": 10, "latency_min": 8, "latency_max": 15, "loss": 0, "rounds": 1}
    path = {"connection_type": "direct", "relayed": 0}
    return {"timestamp": x, "x": x, **usual, **path, **other}


def read(page: Page, points: list[dict[str, object]], hours: int = 1) -> dict[str, list[list[float]]]:
    script = """async ([points, hours, now]) => {
        const { readHistory } = await import("/js/series.js");
        const history = points.map((each) => ({ ...each, timestamp: new Date(each.x).toISOString() }));
        const { gaps, relayed } = readHistory({ hostname: "git", hours, step_s: 60, history }, now);
        const ago = (list) => list.map((span) => span.map((time) => (now - time) / 60000));
        return { gaps: ago(gaps), relayed: ago(relayed) };
    }"""
    found: dict[str, list[list[float]]] = page.evaluate(script, [points, hours, NOW])
    return found


def test_rounds_that_lack_are_a_gap(page: Page) -> None:
    points = [point(ago) for ago in range(60, 0, -1) if not 20 <= ago < 30]
    assert read(page, points)["gaps"] == [[29, 19]]


def test_one_round_that_lacks_and_the_newest_minutes_are_none(page: Page) -> None:
    points = [point(ago) for ago in range(60, 9, -1) if ago != 40]
    assert read(page, points)["gaps"] == []


def test_the_time_before_the_first_and_after_the_last_round_is_a_gap(page: Page) -> None:
    assert read(page, [point(ago) for ago in range(40, 20, -1)])["gaps"] == [[60, 40], [20, 0]]
    assert read(page, [])["gaps"] == [[60, 0]]


def test_relayed_rounds_become_spans(page: Page) -> None:
    relay = {"connection_type": "relay", "relayed": 1}
    points = [point(ago, **(relay if 30 <= ago < 33 or ago == 10 else {})) for ago in range(60, 0, -1)]
    assert read(page, points)["relayed"] == [[32, 29], [10, 9]]


def test_the_line_breaks_at_a_gap_and_at_a_round_without_a_pong(page: Page) -> None:
    points = [point(10), point(9), point(4, latency_ms=None), point(3)]
    series = {"points": points, "step": MINUTE}
    found = call(page, "series", "line", series, "latency_ms")
    assert isinstance(found, list)
    assert [each["y"] for each in found] == [10, 10, "NaN", "NaN", 10]


def test_totals_weigh_rounds_alike(page: Page) -> None:
    points = [
        point(3, latency_ms=10, rounds=3),
        point(2, latency_ms=50, latency_min=40, latency_max=90, rounds=1, relayed=1, loss=0.5),
        point(1, latency_ms=None, latency_min=None, latency_max=None, loss=None, connection_type="offline"),
    ]
    assert call(page, "series", "totals", points) == {
        "rounds": 5,
        "mean": 20,
        "least": 8,
        "most": 90,
        "loss": 0.125,
        "direct": 0.75,
        "relayed": 0.25,
    }


def test_nothing_sums_to_nothing_known(page: Page) -> None:
    found = call(page, "series", "totals", [])
    assert found == {"rounds": 0} | dict.fromkeys(("mean", "least", "most", "loss", "direct", "relayed"))


def test_the_table_has_no_more_rows_than_it_may(page: Page) -> None:
    found = call(page, "series", "grouped", [point(ago) for ago in range(100, 0, -1)], 48)
    assert isinstance(found, list)
    assert len(found) == 34
    assert sum(group["rounds"] for group in found) == 100
    assert found[0]["x"] > found[-1]["x"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("percent", 0.99996, "99.99%"),
        ("percent", 1, "100%"),
        ("percent", 0.1234, "12.3%"),
        ("percent", None, "\N{EN DASH}"),
        ("ms", 9.04, "9.0 ms"),
        ("ms", 99.96, "100 ms"),
        ("ms", None, "\N{EN DASH}"),
        ("bytes", 999, "999 B"),
        ("bytes", 12_345_678, "12.3 MB"),
        ("bytes", 0, "0 B"),
        ("price", 0.01234, "12.3 €/MWh"),
        ("span", 89_000, "89 s"),
        ("span", 5_400_000, "2 h"),
        ("span", 7 * 86_400_000, "7 days"),
    ],
)
def test_numbers_as_people_read_them(page: Page, name: str, value: object, expected: str) -> None:
    assert call(page, "format", name, value) == expected


def test_a_state_is_told_by_more_than_its_colour(page: Page) -> None:
    script = """async () => {
        const { stateOf } = await import("/js/format.js");
        return ["direct", "relay", "unreachable", "offline"].map((kind) => stateOf(kind)[0]);
    }"""
    signs = set(page.evaluate(script))
    assert len(signs) == 4
    assert call(page, "format", "stateOf", "relay", "fra") == ["▲", "Relayed · fra", "warn"]
    assert call(page, "format", "stateOf", "from the future", "none") == ["?", "Unknown", ""]


def test_ticks_stand_at_midnight_when_the_clocks_change(page: Page) -> None:
    # New York, 2026-11-01: a day of 25 hours.
    start, end = 1_793_300_400_000, 1_793_300_400_000 + 7 * 86_400_000
    found = call(page, "axis", "timeTicks", start, end, 8)
    assert isinstance(found, list)
    hours = page.evaluate(
        "times => times.map((time) => new Date(time).getHours())", [t["value"] for t in found]
    )
    assert set(hours) == {0}
    assert 6 <= len(found) <= 8


def test_thirty_days_have_three_labels_at_every_hour_also_after_the_clocks_changed(page: Page) -> None:
    # 2026-11-27 UTC: the 30 days before begin in New York's summer.
    for end in range(1_795_738_260_000, 1_795_738_260_000 + 86_400_000, 3_600_000):
        found = call(page, "axis", "timeTicks", end - 30 * 86_400_000, end, 4)
        assert isinstance(found, list)
        assert len(found) in {3, 4}, end
