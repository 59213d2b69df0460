"""Accessibility of the page: keyboard, screen reader, contrast, narrow screens; and screenshots."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.lab.browser import (
    PHONE,
    WIDE,
    Scheme,
    assert_accessible,
    assert_clean,
    card_of,
    open_details,
    opened,
    wait_for_chart,
    wait_for_panels,
)
from tests.support.lab.live_api import LiveApi

pytestmark = pytest.mark.timeout(240)


def test_everything_works_from_the_keyboard(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_chart(page)
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="git", exact=True)).to_be_focused()
        for title in ("last hour", "last 30 days"):
            page.keyboard.press("Tab")
            strip = page.get_by_role("slider", name=f"git, {title}")
            expect(strip).to_be_focused()
            expect(strip).to_have_attribute("aria-valuetext", re.compile("irect"))
            said = strip.get_attribute("aria-valuetext")
            page.keyboard.press("ArrowLeft")
            expect(strip).not_to_have_attribute("aria-valuetext", said or "")
            expect(page.locator("#tip .first")).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.locator("#tip")).to_be_hidden()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(card_of(page, "git").locator("output")).to_contain_text("Direct, ", timeout=15_000)
        expect(card_of(page, "git").get_by_role("button", name="Check now git")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        chosen = page.get_by_role("button", name="chocolate-factory-dev", exact=True)
        expect(chosen).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#latency-node")).to_have_text("chocolate-factory-dev")
        page.locator("#ranges input:checked").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#latency-title")).to_have_text("Latency History (7d)")
        scrub = page.locator("#scrub")
        expect(page.locator("#latency-panel")).not_to_have_class("waiting")
        scrub.focus()
        said = scrub.get_attribute("aria-valuetext")
        page.keyboard.press("ArrowLeft")
        expect(scrub).not_to_have_attribute("aria-valuetext", said or "")
        assert "ms" in (scrub.get_attribute("aria-valuetext") or "")
        page.locator("#table-box > summary").focus()
        page.keyboard.press("Enter")
        # At most 48 spans of the same length; where they begin and end depends on the time of day.
        rows = page.locator("#table-rows tr")
        expect(rows.nth(44)).to_be_visible(timeout=10_000)
        assert rows.count() <= 48
        assert_clean(seen, month)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["month", "empty"])
def test_wcag_aa_in_both_schemes(
    browser: Browser, request: pytest.FixtureRequest, state: str, scheme: Scheme
) -> None:
    api: LiveApi = request.getfixturevalue(state)
    with opened(browser, api, scheme=scheme) as seen:
        wait_for_panels(seen.page)
        open_details(seen.page)
        assert_accessible(seen.page)


@pytest.mark.parametrize("width", [320, PHONE[0], 768])
def test_no_width_scrolls_sideways(browser: Browser, month: LiveApi, width: int) -> None:
    with opened(browser, month, size=(width, 740)) as seen:
        wait_for_panels(seen.page)
        open_details(seen.page)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("hours", [1, 24, 168, 720])
def test_a_phone_s_time_axis_has_labels_that_stand_apart(
    browser: Browser, month: LiveApi, hours: int
) -> None:
    script = """() => {
        const { x } = Chart.getChart("latencyChart").scales;
        const pen = document.createElement("canvas").getContext("2d");
        pen.font = `${Chart.defaults.font.size}px ${Chart.defaults.font.family}`;
        return x.ticks.map((tick, at) => {
            const [middle, half] = [x.getPixelForTick(at), pen.measureText(tick.label).width / 2];
            return [middle - half, middle + half];
        });
    }"""
    with opened(browser, month, f"#node=git&range={hours}", size=PHONE) as seen:
        wait_for_chart(seen.page)
        labels: list[tuple[float, float]] = seen.page.evaluate(script)
        assert 3 <= len(labels) <= 5
        assert all(left[1] + 4 < right[0] for left, right in pairwise(labels)), labels


@pytest.mark.parametrize(
    ("name", "size", "scheme", "fragment"),
    [
        ("light", WIDE, "light", "#node=git&range=24"),
        ("dark", WIDE, "dark", "#node=chocolate-factory&range=720"),
        ("phone", PHONE, "light", "#node=git&range=24"),
        ("phone-dark", PHONE, "dark", "#node=git&range=168"),
    ],
)
def test_pictures_for_people(
    browser: Browser,
    month: LiveApi,
    tmp_path: Path,
    name: str,
    size: tuple[int, int],
    scheme: Scheme,
    fragment: str,
) -> None:
    """Whether it is a pleasure, a person decides: the pictures stay in pytest's directory."""
    with opened(browser, month, fragment, size=size, scheme=scheme) as seen:
        wait_for_chart(seen.page)
        for part in ("#forecast-figures", "#price-figures"):
            expect(seen.page.locator(part)).to_contain_text("€/MWh")
        expect(seen.page.locator("#network-facts")).to_contain_text("gets through")
        picture = seen.page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        assert len(picture) > 20_000
