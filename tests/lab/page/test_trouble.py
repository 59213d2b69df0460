"""The page in a real browser when something is wrong: an alert, a store that is down, a degraded forecast."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.api_world import settings_of
from tests.support.lab.browser import (
    TURN_MS,
    Scheme,
    Visit,
    assert_accessible,
    assert_clean,
    card_of,
    opened,
    wait_for_chart,
)
from tests.support.lab.influx import Influx
from tests.support.lab.live_api import (
    BAD_DAY_EXTRA,
    LiveApi,
    add_rounds,
    judge_latency,
    live_api,
    log_errors,
    round_of,
    utc_now,
)
from tests.support.ports import free_port
from tsobs_pipelines.timeseries.open import open_store
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

pytestmark = pytest.mark.timeout(240)

SECRET = "a-token-that-nobody-may-see"
MINUTE = timedelta(minutes=1)


def assert_refused(seen: Visit) -> None:
    """The browser complained of answers that were a 503, and of nothing else."""
    assert seen.complaints
    assert all("503" in line for line in seen.complaints), seen.complaints


def test_an_alert_that_fires_and_is_over(browser: Browser, tmp_path: Path) -> None:
    now = utc_now()
    over = now - 25 * MINUTE
    add_rounds(tmp_path, [round_of("git", over - ago * MINUTE, latency_ms=180) for ago in range(12)])
    judge_latency(tmp_path, over)
    with live_api(tmp_path) as api, opened(browser, api) as seen:
        firing, recent = seen.page.locator("#firing"), seen.page.locator("#recent")
        expect(firing).to_be_visible()
        expect(firing.get_by_role("listitem")).to_have_count(1)
        expect(firing).to_contain_text("High latency: git")
        expect(firing).to_contain_text("up to 180 ms, limit 100 ms · for ")
        expect(seen.page.locator("#recent-empty")).to_be_visible()
        assert_accessible(seen.page)
        add_rounds(tmp_path, [round_of("git", now - ago * MINUTE) for ago in range(25)])
        judge_latency(tmp_path, now)
        expect(firing).to_be_hidden(timeout=TURN_MS)
        expect(recent).to_contain_text("High latency: git")
        expect(recent).to_contain_text("up to 180 ms, limit 100 ms")
        expect(seen.page.locator("#recent-empty")).to_be_hidden()
        assert_clean(seen, api)


@pytest.mark.parametrize("fragment", ["", "#node=git&range=24"])
def test_a_store_that_is_down_is_no_empty_store(browser: Browser, tmp_path: Path, fragment: str) -> None:
    log_errors(tmp_path / "models", utc_now())
    settings = {
        "INFLUXDB_V2_URL": f"http://127.0.0.1:{free_port()}",
        "INFLUXDB_V2_ORG": "lab",
        "INFLUXDB_V2_TOKEN": SECRET,
    }
    with live_api(tmp_path, **settings) as api, opened(browser, api, fragment) as seen:
        page = seen.page
        banner = page.locator("#banner")
        expect(banner).to_contain_text("InfluxDB")
        expect(banner).to_contain_text("Trying again")
        expect(banner).to_have_class("banner bad")
        expect(page.locator("#latency-note")).to_contain_text("Not known: ")
        expect(page.locator("#latency-note")).to_contain_text("InfluxDB")
        for part in ("#nodes-empty", "#latencyChart", "#latency-legend", "#totals", "#table-box"):
            expect(page.locator(part)).to_be_hidden()
        expect(page.locator("article.card")).to_have_count(0)
        # What does not need the store is there.
        expect(page.locator("#forecast-state")).to_have_text("● Good")
        expect(page.locator("#recent-empty")).to_have_text("None in the last 30 days.")
        assert SECRET not in page.content()
        assert_accessible(page)
        assert_refused(seen)


@pytest.fixture
def over_influx(influx: Influx, tmp_path: Path) -> Iterator[LiveApi]:
    """The API over the real InfluxDB, with an hour of one node."""
    place = {"influx_url": influx.url, "influx_org": influx.org, "influx_bucket": influx.bucket}
    store = open_store(settings_of(tmp_path, influx_token=influx.token, **place))
    now = utc_now()
    rows = [round_of("git", now - ago * MINUTE) for ago in range(60)]
    store.write(CONNECTIONS, rows)
    with live_api(tmp_path, **influx.environment) as api:
        yield api
    store.delete(CONNECTIONS, Window(now - 61 * MINUTE, now + MINUTE), {"tailnet": "demo"})
    store.close()


def test_a_store_that_goes_down_leaves_what_was_seen(
    browser: Browser, influx: Influx, over_influx: LiveApi
) -> None:
    with opened(browser, over_influx, "#node=git&range=1") as seen:
        page = seen.page
        wait_for_chart(page)
        banner = page.locator("#banner")
        expect(banner).to_be_hidden()
        expect(card_of(page, "git").locator(".value")).to_contain_text("41.5")
        influx.stop()
        try:
            expect(banner).to_contain_text("InfluxDB", timeout=TURN_MS)
            expect(banner).to_contain_text("What you see is from")
            expect(card_of(page, "git").locator(".value")).to_contain_text("41.5")
            expect(page.locator("#latency-note")).to_be_hidden()
        finally:
            influx.start()
        expect(banner).to_be_hidden(timeout=TURN_MS)
        assert_refused(seen)


@pytest.mark.parametrize(
    ("naive_extra", "words", "scheme"),
    [(0.0, "✕ Degraded", "light"), (BAD_DAY_EXTRA, "✕ Degraded, as is the naive forecast", "dark")],
)
def test_a_degraded_forecast_is_named(
    browser: Browser, tmp_path: Path, naive_extra: float, words: str, scheme: Scheme
) -> None:
    log_errors(tmp_path / "models", utc_now(), bad_day=0, naive_extra=naive_extra)
    with live_api(tmp_path) as api, opened(browser, api, scheme=scheme) as seen:
        state = seen.page.locator("#forecast-state")
        expect(state).to_have_text(words)
        expect(state).to_have_class("pill bad")
        said = seen.page.locator("#maeChart").get_attribute("aria-label") or ""
        assert "x the baseline" in said
        assert_accessible(seen.page)
        assert_clean(seen, api)
