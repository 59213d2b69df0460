"""Pictures of the page and of Dagster's lineage for the documentation, from a running demo."""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support.alert_pictures import write_pictures
from tests.support.lab.browser import PHONE, WIDE, Scheme, chromium, until, visit, wait_for_chart
from tests.support.running import Running, eventually, running

PLACE = Path(__file__).parents[3] / "docs" / "images"
MOST_BYTES = 200_000
LINEAGE = (1440, 810)
COLOURS = (256, 128, 64, 32)

FILLED = """{assetsOrError {... on AssetConnection {nodes {key {path}
  definition {partitionStats {numMaterialized numPartitions}}}}}}"""
WITHIN_S = 1800
"""The first filling fits a model for each of 30 days."""

PAGES: tuple[tuple[str, tuple[int, int], Scheme, str], ...] = (
    ("page-light", WIDE, "light", "#node=git&range=24"),
    ("page-dark", WIDE, "dark", "#node=chocolate-factory&range=720"),
    ("page-phone", PHONE, "light", "#node=git&range=24"),
)


def filled(tsobs: Running, *names: str) -> bool:
    """Whether each of these assets has all partitions but the newest two, which may not be due yet."""
    answer = tsobs.graphql(FILLED)["assetsOrError"]
    assert isinstance(answer, dict)
    found = {node["key"]["path"][-1]: (node["definition"] or {}) for node in answer["nodes"]}
    stats = [found.get(name, {}).get("partitionStats") for name in names]
    return all(one and one["numMaterialized"] >= one["numPartitions"] - 2 for one in stats)


def save(picture: bytes, place: Path) -> None:
    """Write a PNG of at most 200 kB: with a palette, of as many colours as that allows.

    Raises:
        ValueError: it is larger with the fewest colours.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in COLOURS:
        body = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(body, "PNG", optimize=True)
        if body.tell() <= MOST_BYTES:
            place.write_bytes(body.getvalue())
            sys.stdout.write(f"{place}: {body.tell() / 1000:.0f} kB\n")
            return
    msg = f"{place.name}: {body.tell()} bytes, expected at most {MOST_BYTES}"
    raise ValueError(msg)


def page_pictures(browser: Browser, tsobs: Running, place: Path) -> None:
    """The page: light, dark, and on a phone."""
    for name, size, scheme, fragment in PAGES:
        url = f"http://127.0.0.1:{tsobs.api_port}/vpn.html{fragment}"
        with visit(browser, url, size=size, scheme=scheme) as seen:
            wait_for_chart(seen.page)
            wait_for_parts(seen.page)
            save(seen.page.screenshot(full_page=True), place / f"{name}.png")


def wait_for_parts(page: Page) -> None:
    """Until strips, prices and network are there too."""
    for part in (
        "document.querySelector('.strip')?.slots.length > 0",
        "document.querySelector('#price-figures').children.length > 0",
        "document.querySelector('#network-facts').children.length > 0",
    ):
        until(page, part, 60)


def lineage_pictures(browser: Browser, tsobs: Running, place: Path) -> None:
    """The lineage of the tailnet and of the forecast, as Dagster draws it."""
    for group, asset in (("tailnet", "connection_metrics"), ("forecast", "forecast_evaluation")):
        path = f"locations/__repository__@tsobs/asset-groups/{group}/lineage"
        with visit(browser, f"http://127.0.0.1:{tsobs.dagster_port}/{path}", size=LINEAGE) as seen:
            page = seen.page
            page.get_by_text(asset).first.wait_for(timeout=60_000)
            skip = page.get_by_role("button", name="Skip")  # of a newcomer's greeting
            if skip.count():
                skip.click()
            page.wait_for_timeout(5_000)  # the graph slides into its place
            save(page.screenshot(), place / f"lineage-{group}.png")


def main() -> None:
    """Start the demo, wait for its first filling, take the pictures."""
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--to", type=Path, default=PLACE, help="directory of the pictures")
    place: Path = parser.parse_args().to
    place.mkdir(parents=True, exist_ok=True)
    write_pictures(place)
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as tsobs:
        wanted = ("connection_metrics", "price_forecast", "forecast_evaluation")
        eventually(lambda: filled(tsobs, *wanted), WITHIN_S, f"{', '.join(wanted)} are filled")
        with chromium() as browser:
            page_pictures(browser, tsobs, place)
            lineage_pictures(browser, tsobs, place)


if __name__ == "__main__":
    main()
