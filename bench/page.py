"""The page with thirty days of demo data: first chart on the screen, and bytes over the wire.

Chromium of this machine, API and browser on loopback. Cold is a new browser profile, warm the same one again.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page

from bench.harness import machine, table
from tests.support.lab.browser import chromium, wait_for_chart
from tests.support.lab.live_api import fill, live_api, utc_now

TRIALS = 9
DRAWN = "performance.getEntriesByName('chart-drawn')[0].startTime"


def drawn_ms(page: Page, url: str) -> float:
    """From the start of the navigation until the first chart was on the screen."""
    page.goto("about:blank")
    page.goto(url)
    wait_for_chart(page)
    found: float = page.evaluate(DRAWN)
    page.wait_for_load_state("networkidle")
    return found


def watched(session: CDPSession) -> list[float]:
    """The sizes of answers as they were on the wire, headers included, as they arrive."""
    sizes: list[float] = []
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    return sizes


def measure(browser: Browser, url: str) -> tuple[float, float, list[float], float]:
    """Cold ms and bytes, then warm ms of each trial and the bytes of the last."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    sizes = watched(page.context.new_cdp_session(page))
    cold, cold_bytes = drawn_ms(page, url), sum(sizes)
    warm = []
    for _ in range(TRIALS):
        sizes.clear()
        warm.append(drawn_ms(page, url))
    return cold, cold_bytes, warm, sum(sizes)


def main() -> None:
    """Print the table."""
    print(f"{machine()}\n")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        fill(state, utc_now())
        with live_api(state) as api, chromium() as browser:
            for fragment in ("", "#node=git&range=24", "#node=git&range=720"):
                cold, cold_bytes, warm, warm_bytes = measure(browser, f"{api.url}/vpn.html{fragment}")
                middle = f"{statistics.median(warm):.0f} ({min(warm):.0f} to {max(warm):.0f})"
                cells = (f"{cold:.0f}", f"{cold_bytes / 1000:.0f}", middle, f"{warm_bytes / 1000:.0f}")
                rows.append((f"`/vpn.html{fragment}`", *cells))
    print(table(["address", "cold ms", "cold kB", "warm ms: median (range)", "warm kB"], rows))


if __name__ == "__main__":
    main()
