"""The forecast on the page: prices, interval, the current time."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.support.lab.browser import assert_clean, opened, until, wait_for_chart
from tests.support.lab.live_api import LiveApi

pytestmark = pytest.mark.timeout(240)

LABELS = """() => {
    const chart = Chart.getChart("priceChart");
    const { x } = chart.scales;
    const known = ({ data }) => data.filter((point) => !Number.isNaN(point.y)).length;
    return { first: x.min, last: x.max, series: chart.data.datasets.map(known) };
}"""


def test_three_days_of_prices_with_their_forecast(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_chart(page)
        expect(page.locator("#price-sub")).to_contain_text("Delivery days of Europe/Madrid")
        expect(page.locator("#price-sub")).to_contain_text("s forecast")
        for figure in ("Price of this hour", "Forecast for it", "80 % interval"):
            expect(page.locator("#price-figures")).to_contain_text(figure)
        found = page.evaluate(LABELS)
        assert found["last"] - found["first"] == 72 * 3_600_000
        lower, upper, forecast, price = found["series"]
        # Two days at least, and the end of the last hour.
        assert lower == upper == forecast >= 48
        assert price >= 48
        said = page.locator("#priceChart").get_attribute("aria-label") or ""
        assert said.startswith("Yesterday: prices from ")
        assert "€/MWh" in said
        assert_clean(seen, month)


def test_the_mouse_tells_price_and_forecast(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_chart(page)
        expect(page.locator("#price-figures")).to_contain_text("€/MWh")
        canvas = page.locator("#priceChart")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
        words = 'Chart.getChart("priceChart").tooltip.body?.flatMap((each) => each.lines).join("; ") ?? ""'
        until(page, f"({words}).includes('price ')")
        said: str = page.evaluate(words)
        for part in ("price ", "forecast ", "80 % interval ", "off by ", "€/MWh"):
            assert part in said, said


def test_the_same_as_a_table(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_chart(page)
        page.locator("#hours-box > summary").click()
        rows = page.locator("#hours-rows tr")
        expect(rows.nth(71)).to_be_attached()
        expect(rows.first).to_contain_text("€/MWh")
