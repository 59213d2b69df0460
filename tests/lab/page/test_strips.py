"""Strips, the newest rounds, the network and incidents on the page; times in UTC at a click."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.lab.browser import (
    ZONE,
    assert_clean,
    card_of,
    opened,
    until,
    wait_for_chart,
    wait_for_panels,
)
from tests.support.lab.live_api import LiveApi, fill, live_api, store_of, utc_now
from tsobs_pipelines.demo.tailnet import OFFLINE_NIGHT, RELAYED_AFTERNOON
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

pytestmark = pytest.mark.timeout(240)


def words_of(page: Page, hostname: str, place: int) -> list[str]:
    """What a strip says of each of its slots; the first strip is the hour, the second the month."""
    script = f"box => box.querySelectorAll('.strip')[{place}].slots.map((slot) => slot.lines.join(', '))"
    found: list[str] = card_of(page, hostname).evaluate(script)
    return found


def wait_for_strips(page: Page) -> None:
    wait_for_chart(page)
    until(page, "document.querySelector('.strip')?.slots.length > 0")


def test_an_hour_of_rounds_and_a_month_of_days(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_strips(page)
        for node in ("git", "chocolate-factory-dev", "chocolate-factory"):
            hour, days = words_of(page, node, 0), words_of(page, node, 1)
            assert (len(hour), len(days)) == (60, 30)
            assert all(" ms" in words for words in hour if "irect" in words)
            assert all("(UTC)" in words for words in days)
        assert OFFLINE_NIGHT.node
        assert RELAYED_AFTERNOON.node
        assert sum("Offline: " in words for words in words_of(page, OFFLINE_NIGHT.node, 1)) == 2
        assert sum("Relayed: " in words for words in words_of(page, RELAYED_AFTERNOON.node, 1)) == 1
        assert_clean(seen, month)


def test_the_mouse_tells_what_a_slot_says(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_strips(page)
        strip = card_of(page, "git").locator(".strip-picture").first
        strip.hover(position={"x": 3, "y": 8})
        expect(page.locator("#tip")).to_contain_text("ms")
        page.mouse.move(0, 0)
        expect(page.locator("#tip")).to_be_hidden()


def test_every_state_has_a_mark_of_its_own(browser: Browser, month: LiveApi) -> None:
    """Not by colour alone: no two states have the same outline or filling."""
    script = """async () => {
        const { newStrip, showRounds } = await import("/js/strips.js");
        const reached = ["direct", "peer-relay", "relay"];
        const states = [...reached, "unreachable", "offline", "absent", "unknown", "none"];
        return states.map((state) => {
            const box = newStrip("last hour", "git");
            const known = { at: "2026-11-24T12:00:00Z", latency_ms: null, loss: null, collected: true };
            showRounds(box, [{ ...known, state, relay_node: "none" }]);
            const path = box.querySelector("path");
            return `${path.getAttribute("d")} ${path.getAttribute("fill")}`;
        });
    }"""
    with opened(browser, month) as seen:
        wait_for_strips(seen.page)
        marks: list[str] = seen.page.evaluate(script)
        assert len(set(marks)) == len(marks) == 8


def test_what_is_not_collected_yet_is_there_and_said(browser: Browser, tmp_path: Path) -> None:
    now = utc_now()
    fill(tmp_path, now, days=1)
    store = store_of(tmp_path)
    store.delete(CONNECTIONS, Window.trailing(now, timedelta(minutes=20)))
    store.close()
    with live_api(tmp_path) as api, opened(browser, api, "#node=git&range=1") as seen:
        page = seen.page
        wait_for_strips(page)
        wait_for_panels(page)
        until(page, "document.querySelector('#age').textContent.includes('not collected yet')", 90)
        until(page, "document.querySelector('.strip .s-fresh') !== null", 90)
        assert "not collected yet" in words_of(page, "git", 0)[-1]
        expect(page.locator("#legend-fresh")).to_be_visible()
        # It refreshes itself, and nothing moves.
        page.locator("#recent-title").scroll_into_view_if_needed()
        place = "[scrollY, document.querySelector('#recent-title').getBoundingClientRect().top].join()"
        before = page.evaluate(place)
        newest = "document.querySelector('.strip').slots.at(-1).lines[0]"
        first = page.evaluate(newest)
        until(page, f"{newest} !== {first!r}", 110)
        assert page.evaluate(place) == before
        assert_clean(seen, api)


def test_the_network_around_the_sidecar(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month) as seen:
        page = seen.page
        wait_for_chart(page)
        facts = page.locator("#network-facts")
        for words in ("✓ gets through", "✓ easy: one port for all peers"):
            expect(facts).to_contain_text(words)
        expect(page.locator("#regions .home")).to_have_text(re.compile(r"^fra[\d.]+ ms, home$"))
        expect(page.locator("#regions li")).to_have_count(4)
        codes = page.locator("#regions .code").all_inner_texts()
        assert sorted(codes) == ["fra", "lhr", "nue", "par"]


def test_a_relayed_node_s_card_says_the_likely_cause(browser: Browser, month: LiveApi) -> None:
    script = """async (state) => {
        const { causesOf } = await import("/js/alerts.js");
        const { expectCauses, showCards } = await import("/js/cards.js");
        const { nodes } = await (await fetch("/health-monitoring/nodes")).json();
        const node = { ...nodes[0], state, relay_node: "fra", online: true, evidence: "" };
        const detail = "fra: only git: its side, for others are direct; try: look at its NAT: UDP 41641";
        const alert = { topic: `relay_${node.hostname}`, subject: node.hostname, tailnet: "demo", detail };
        expectCauses(causesOf({ firing: [alert] }, (tailnet) => tailnet === "demo"));
        showCards([node], null, null, Date.now(), () => {});
        const cause = document.querySelector(".card .cause");
        return cause.hidden ? "" : cause.innerText;
    }"""
    with opened(browser, month) as seen:
        wait_for_strips(seen.page)
        said: str = seen.page.evaluate(script, "relay")
        assert said == (
            "Likely cause: only git: its side, for others are direct. Try: look at its NAT: UDP 41641."
        )
        assert seen.page.evaluate(script, "direct") == ""


def test_an_incident_leads_from_the_chart_to_its_data(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month, f"#node={RELAYED_AFTERNOON.node}&range=720") as seen:
        page = seen.page
        wait_for_chart(page)
        mark = page.get_by_role("button", name=re.compile("^Relayed, .*: show$"))
        mark.click()
        opened_one = page.locator("#recent details[open]")
        expect(opened_one).to_contain_text("Relayed: chocolate-factory")
        expect(opened_one).to_contain_text("Found in the past by a backfill")
        link = opened_one.get_by_role("link", name="s data in Dagster")
        expect(link).to_have_attribute("href", re.compile(r"/assets/connection_metrics\?.*partition=\d{4}-"))
        other = page.locator("#recent details", has_text="No answer: chocolate-factory-dev")
        other.locator("summary").click()
        other.get_by_role("button", name="Show in the chart").click()
        expect(page.locator("#latency-node")).to_have_text("chocolate-factory-dev")
        assert "node=chocolate-factory-dev" in page.url
        assert_clean(seen, month)


def test_utc_at_a_click_and_in_the_address(browser: Browser, month: LiveApi) -> None:
    with opened(browser, month, "#node=chocolate-factory&range=24") as seen:
        page = seen.page
        wait_for_strips(page)
        zone = page.locator("#zone")
        expect(zone).to_contain_text(ZONE.replace("_", " "))
        here = words_of(page, "git", 0)[0]
        zone.click()
        expect(zone).to_have_text("Times in UTC")
        there = words_of(page, "git", 0)[0]
        assert here.partition(",")[0] != there.partition(",")[0]
        assert page.url.endswith("#node=chocolate-factory&range=24&zone=utc")
        page.reload()
        expect(zone).to_have_text("Times in UTC")
        expect(page.locator("#latency-node")).to_have_text("chocolate-factory")
        expect(page.locator("#price-sub")).to_contain_text("09:00")
        zone.click()
        expect(zone).not_to_have_text("Times in UTC")
        assert "zone" not in page.url
