"""The page in a real browser, against a live API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.lab.browser import TURN_MS, ZONE, assert_clean, card_of, opened, until, wait_for_chart
from tests.support.lab.live_api import NODES, LiveApi, add_rounds, fill, live_api, round_of, store_of, utc_now
from tests.support.ports import free_port
from tests.support.sidecars import StubSidecar, served
from tsobs_pipelines.demo.server import DemoServer
from tsobs_pipelines.demo.tailnet import RELAYED_AFTERNOON, DemoTailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

pytestmark = pytest.mark.timeout(240)


def colour_at(page: Page, time: datetime, colour: str) -> int:
    """How many pixels of a style-sheet colour the latency chart has in the column of a time."""
    script = """([time, name]) => {
        const chart = Chart.getChart("latencyChart");
        // Whole pixels: between them they would be blended.
        const [top, height] = [chart.chartArea.top, chart.chartArea.height].map(Math.round);
        const left = Math.round(chart.scales.x.getPixelForValue(time)) - 4;
        const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        [copy.canvas.width, copy.canvas.height] = [8, height];
        copy.drawImage(chart.canvas, left, top, 8, height, 0, 0, 8, height);
        const pixels = copy.getImageData(0, 0, 8, height);
        const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
        probe.fillRect(0, 0, 1, 1);
        const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
        let count = 0;
        for (let i = 0; i < pixels.data.length; i += 4) {
            const off = [red, green, blue].map((value, at) => Math.abs(pixels.data[i + at] - value));
            if (off[0] + off[1] + off[2] < 24) count += 1;
        }
        return count;
    }"""
    found: int = page.evaluate(script, [time.timestamp() * 1000, f"--{colour}"])
    return found


def test_a_month_of_the_demo_at_a_glance(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_chart(page)
        for node in NODES:
            card = card_of(page, node)
            expect(card.locator(".pill")).to_have_text("● Direct")
            expect(card.locator(".value")).to_contain_text("ms")
            expect(card.locator(".handshake")).to_contain_text(" ago")
            for fact in ("Availability", "Pings lost", "Direct / relayed", "Traffic"):
                expect(card.locator(".facts")).to_contain_text(fact)
        expect(page.get_by_role("heading", name="Latency History (24h)")).to_be_visible()
        expect(page.locator("canvas#latencyChart")).to_be_visible()
        expect(page.locator("#demo")).to_have_text("Demo data")
        expect(page.locator("#demo-prices")).to_be_visible()
        expect(page.locator("#forecast-figures")).to_contain_text("€/MWh")
        until(page, "Chart.getChart('maeChart').options.scales.y.title.text === '€/MWh'")
        recent = page.locator("#recent")
        for incident in (
            "Relayed: chocolate-factory",
            "No answer: chocolate-factory-dev",
            "High latency: git",
        ):
            expect(recent).to_contain_text(incident)
        expect(page.locator("#banner")).to_be_hidden()
        assert_clean(seen, month)


@pytest.mark.parametrize("hours", [1, 24, 168, 720])
def test_every_range_is_drawn_and_kept_in_the_address(browser: Browser, month: LiveApi, hours: int) -> None:
    name = {1: "1h", 24: "24h", 168: "7d", 720: "30d"}[hours]
    with opened(browser, month) as seen:
        page = seen.page
        page.locator("#ranges label", has_text=name.replace("h", " h").replace("d", " d")).first.click()
        expect(page.locator("#latency-title")).to_have_text(f"Latency History ({name})")
        expect(page.locator("#latency-panel")).not_to_have_class("waiting")
        axis = "Chart.getChart('latencyChart').options.scales.x"
        until(page, f"{axis}.max - {axis}.min === {hours * 3_600_000}")
        wait_for_chart(page)
        points = page.evaluate("Chart.getChart('latencyChart').data.datasets[2].data.length")
        assert min(50, hours * 50) <= points <= 2100
        page.reload()
        expect(page.locator("#latency-title")).to_have_text(f"Latency History ({name})")
        assert_clean(seen, month)


def test_relayed_spans_are_shaded_and_in_the_shares(browser: Browser, month: LiveApi) -> None:
    now = datetime.now(UTC).timestamp()
    noon = RELAYED_AFTERNOON.last_start(now) + 2 * 3600
    relayed = datetime.fromtimestamp(noon if noon < now else noon - 28 * 86400, UTC)
    with opened(browser, month, "#node=chocolate-factory&range=720") as seen:
        wait_for_chart(seen.page)
        assert colour_at(seen.page, relayed, "warn-fill") > 20
        assert colour_at(seen.page, relayed - timedelta(hours=12), "warn-fill") == 0
        expect(seen.page.locator("#totals")).to_contain_text("%")
        label = seen.page.locator("#latencyChart").get_attribute("aria-label") or ""
        assert "relayed" in label
        assert ", 0% relayed" not in label
        assert_clean(seen, month)


def test_a_gap_stays_a_gap(browser: Browser, tmp_path: Path) -> None:
    now = utc_now()
    fill(tmp_path, now, days=1)
    store = store_of(tmp_path)
    gap = Window(now - timedelta(hours=8), now - timedelta(hours=5))
    store.delete(CONNECTIONS, gap, {"tailnet": "demo", "hostname": "git"})
    store.close()
    with live_api(tmp_path) as api, opened(browser, api, "#node=git&range=24") as seen:
        wait_for_chart(seen.page)
        middle = gap.start + timedelta(minutes=90)
        assert colour_at(seen.page, middle, "accent") == 0
        assert colour_at(seen.page, middle, "line") > 5
        assert colour_at(seen.page, middle - timedelta(hours=3), "accent") > 0
        assert_clean(seen, api)


def test_times_are_the_reader_s(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month, "#node=git&range=1") as seen:
        wait_for_chart(seen.page)
        expect(seen.page.locator("#zone-words")).to_contain_text(
            f"Times are in {ZONE.replace('_', ' ')} (GMT"
        )
        url = f"{month.url}/health-monitoring/latency-history/git?hours=1"
        history = httpx.get(url, trust_env=False).json()["history"]
        # A round may have come since the page asked.
        times = [datetime.fromisoformat(point["timestamp"]) for point in history[-3:]]
        clocks = [time.astimezone(ZoneInfo(ZONE)).strftime("%H:%M") for time in times]
        said = seen.page.locator("#scrub").get_attribute("aria-valuetext") or ""
        assert any(clock in said for clock in clocks)


def test_an_empty_store_shows_the_hour_of_the_journal(browser: Browser, empty: LiveApi) -> None:
    with opened(browser, empty) as seen:
        page = seen.page
        expect(card_of(page, "git").locator(".pill")).to_have_text("● Direct", timeout=TURN_MS)
        expect(page.locator("#age")).to_contain_text("not collected yet")
        expect(page.locator("#nodes-empty")).to_be_hidden()
        expect(page.locator("#price-note")).to_contain_text("Neither prices nor a forecast")
        expect(page.locator("#forecast-note")).to_contain_text("No forecast has been evaluated yet")
        expect(page.locator("#recent-empty")).to_have_text("None in the last 30 days.")
        expect(page.locator("#banner")).to_be_hidden()
        assert_clean(seen, empty)


def test_before_the_first_round_there_is_no_failure(browser: Browser, tmp_path: Path) -> None:
    sidecar = StubSidecar({"/status": DemoTailnet().status(utc_now())})
    with (
        served(sidecar),
        live_api(tmp_path, TSOBS_SIDECAR_URL=sidecar.url) as api,
        opened(browser, api) as seen,
    ):
        page = seen.page
        expect(page.locator("#nodes-empty")).to_be_visible()
        expect(card_of(page, "git").locator(".pill")).to_have_text("… No rounds yet")
        expect(page.locator("#latency-note")).to_contain_text("No round of git in the last 24h")
        assert_clean(seen, api)


def test_a_sidecar_that_is_down_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path, utc_now(), days=1, tailnet="default")
    port = free_port()
    settings = {"TSOBS_SIDECAR_URL": f"http://127.0.0.1:{port}", "TSOBS_PRICE_SOURCE": "demo"}
    with live_api(tmp_path, **settings) as api, opened(browser, api) as seen:
        page = seen.page
        wait_for_chart(page)
        banner = page.locator("#banner")
        expect(banner).to_contain_text("The sidecar does not answer")
        expect(card_of(page, "git").locator(".value")).to_contain_text("ms")
        expect(page.locator("#demo")).to_have_text("Demo prices")
        with served(DemoServer(port)):
            expect(banner).to_be_hidden(timeout=TURN_MS)
        assert_clean(seen, api)


def test_a_node_added_while_the_page_is_open_appears(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path, utc_now(), days=1)
    with live_api(tmp_path) as api, opened(browser, api) as seen:
        page = seen.page
        wait_for_chart(page)
        expect(page.locator("article.card")).to_have_count(3)
        page.get_by_role("button", name="chocolate-factory", exact=True).focus()
        page.evaluate("window.before = document.querySelector('.card')")
        add_rounds(tmp_path, [round_of("newcomer", utc_now() - timedelta(minutes=1))])
        expect(card_of(page, "newcomer").locator(".pill")).to_have_text("▲ Relayed · fra", timeout=TURN_MS)
        # Nothing was drawn anew: the same elements, and the reader's place.
        assert page.evaluate("window.before === document.querySelector('.card')")
        assert page.evaluate("document.activeElement.textContent") == "chocolate-factory"
        assert_clean(seen, api)


def test_the_api_stops_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path, utc_now(), days=1)
    with live_api(tmp_path) as api, opened(browser, api) as seen:
        page = seen.page
        wait_for_chart(page)
        page.evaluate("window.opened = true")
        api.stop()
        banner = page.locator("#banner")
        expect(banner).to_contain_text("be reached. What you see is from", timeout=TURN_MS)
        expect(card_of(page, "git").locator(".value")).to_contain_text("ms")
        api.start()
        expect(banner).to_be_hidden(timeout=TURN_MS)
        assert page.evaluate("window.opened")
        assert all("ERR_CONNECTION_REFUSED" in line or "ERR_EMPTY" in line for line in seen.complaints)
