"""Chromium as the page's browser: console errors and requests are recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.support.lab.live_api import LiveApi

CHROMIUM = "/usr/bin/chromium"
ZONE = "America/New_York"
WIDE = (1280, 900)
PHONE = (360, 740)

TURN_MS = 45_000
"""Within so long the page shows what is new: it asks every 15 or 30 s, the API may hold an answer for 10."""

_PANELS = """[
    ["#age"],
    [".strip .strip-sum", "#nodes-empty:not([hidden])"],
    ["#network-sub"],
    ["#recent", "#recent-empty:not([hidden])"],
    ["#price-sub", "#price-note:not([hidden])"],
    ["#forecast-sub", "#forecast-note:not([hidden])"],
]"""
"""What each panel shows once its first answer is there: one of these has text."""

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}

Scheme = Literal["light", "dark"]


@dataclass
class Visit:
    """One reader's page, with what went wrong in it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window; root needs it without its own sandbox."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visit(
    browser: Browser, url: str, *, size: tuple[int, int] = WIDE, scheme: Scheme = "light"
) -> Iterator[Visit]:
    """A new reader in New York opens the address."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        timezone_id=ZONE,
        locale="en-GB",
    )
    page = context.new_page()
    seen = Visit(page)
    page.on("console", lambda said: _note(seen, said.type, said.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.hosts.add(urlsplit(request.url).netloc))
    page.goto(url)
    try:
        yield seen
    finally:
        context.close()


def _note(seen: Visit, kind: str, text: str) -> None:
    if kind in {"error", "warning"}:
        seen.complaints.append(f"{kind}: {text}")


def until(page: Page, expression: str, within_s: float = 20) -> None:
    """Ask the page until the expression holds; ``wait_for_function`` needs the eval that its policy forbids.

    Raises:
        AssertionError: the time is over.
    """
    deadline = time.monotonic() + within_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {expression}"
        page.wait_for_timeout(20)


def wait_for_chart(page: Page) -> None:
    """Wait until the first latency chart is on the screen."""
    until(page, "performance.getEntriesByName('chart-drawn').length > 0")


def wait_for_panels(page: Page) -> None:
    """Wait until every panel shows its first answer: from then on, only what is new changes the page."""
    wait_for_chart(page)
    until(
        page, f"({_PANELS}).every((ids) => ids.some((id) => document.querySelector(id)?.textContent.trim()))"
    )


def opened(
    browser: Browser,
    api: LiveApi,
    fragment: str = "",
    *,
    size: tuple[int, int] = WIDE,
    scheme: Scheme = "light",
) -> AbstractContextManager[Visit]:
    """A visit to the page of this API."""
    return visit(browser, f"{api.url}/vpn.html{fragment}", size=size, scheme=scheme)


def open_details(page: Page) -> None:
    """Open whatever can be opened on the page."""
    summaries = page.locator("details:not([open]) > summary:visible")
    while summaries.count():
        summaries.first.click()


def card_of(page: Page, hostname: str) -> Locator:
    """The card of a node."""
    return page.locator("article.card", has=page.get_by_role("button", name=hostname, exact=True))


def assert_accessible(page: Page) -> None:
    """Nothing on the page is against WCAG AA, as far as axe can tell."""
    found = Axe().run(page, options=WCAG)
    assert found.violations_count == 0, found.generate_report()


def assert_clean(seen: Visit, api: LiveApi) -> None:
    """No complaint in the console, and nobody asked but the API."""
    assert seen.complaints == []
    assert seen.hosts == {urlsplit(api.url).netloc}
