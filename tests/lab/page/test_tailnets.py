"""The page over two tailnets in a real browser: selection, address, and no leftovers of the other one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, expect

from tests.support.lab.browser import PHONE, TURN_MS, assert_accessible, card_of, opened, wait_for_chart
from tests.support.lab.live_api import LiveApi, add_rounds, judge_latency, live_api, round_of, utc_now

pytestmark = pytest.mark.timeout(240)

MINUTE = timedelta(minutes=1)
FILE = """
[office]
sidecar_url = "http://127.0.0.1:1"
critical_nodes = ["printer", "git"]
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    """The demo with relayed rounds at 40 ms, and an office at 200 ms whose sidecar is away."""
    state = tmp_path_factory.mktemp("two")
    file = state / "tailnets.toml"
    file.write_text(FILE)
    now = utc_now()
    for name, tailnet, latency_ms in (("git", "demo", 40), ("git", "office", 200), ("printer", "office", 20)):
        add_rounds(
            state,
            [round_of(name, now - ago * MINUTE, latency_ms=latency_ms, tailnet=tailnet) for ago in range(20)],
        )
    judge_latency(state, now, tailnet="office")
    with live_api(state, TSOBS_TAILNETS_FILE=str(file)) as api:
        yield api


def test_one_of_two_is_chosen_and_kept_in_the_address(browser: Browser, two: LiveApi) -> None:
    with opened(browser, two) as seen:
        page = seen.page
        wait_for_chart(page)
        choice = page.get_by_role("group", name="Tailnet")
        expect(choice.get_by_role("radio", name="demo")).to_be_checked()
        expect(card_of(page, "printer")).to_have_count(0)
        expect(page.locator("#firing")).to_contain_text("High latency: git (office)")
        choice.get_by_role("radio", name="office").check()
        expect(card_of(page, "printer")).to_be_visible(timeout=TURN_MS)
        expect(card_of(page, "chocolate-factory")).to_have_count(0)
        expect(card_of(page, "git").locator(".value")).to_contain_text("200")
        expect(page.locator("#banner")).to_contain_text("The sidecar does not answer")
        # The office is real, and only the prices are simulated still.
        expect(page.locator("#demo")).to_have_text("Demo prices")
        assert "tailnet=office" in page.url
        card_of(page, "git").get_by_role("button", name="git", exact=True).click()
        expect(page.locator("#latency-node")).to_contain_text("git")
        expect(page.locator("#totals")).to_contain_text("200")
        page.reload()
        expect(card_of(page, "printer")).to_be_visible(timeout=TURN_MS)
        expect(choice.get_by_role("radio", name="office")).to_be_checked()
        assert_accessible(page)


def test_the_link_of_an_alert_leads_to_its_tailnet_on_a_phone(browser: Browser, two: LiveApi) -> None:
    with opened(browser, two, "#tailnet=office", size=PHONE) as seen:
        page = seen.page
        expect(card_of(page, "printer")).to_be_visible(timeout=TURN_MS)
        expect(page.get_by_role("group", name="Tailnet").get_by_role("radio", name="office")).to_be_checked()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        assert_accessible(page)


def test_with_one_tailnet_there_is_nothing_to_choose(browser: Browser, empty: LiveApi) -> None:
    with opened(browser, empty) as seen:
        expect(card_of(seen.page, "git")).to_be_visible(timeout=TURN_MS)
        expect(seen.page.get_by_role("group", name="Tailnet")).to_be_hidden()
