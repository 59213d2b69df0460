"""The pictures of alerts for the documentation, from the demo's slow evening and its market."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean

from tsobs_pipelines.alerting.drawing import DrawnHour, DrawnLatency, forecast_picture, latency_picture
from tsobs_pipelines.demo.market import price_of
from tsobs_pipelines.demo.tailnet import NODES, SLOW_EVENING, DemoTailnet, next_incidents
from tsobs_pipelines.forecasting.delivery import Market

PLACE = Path(__file__).parents[2] / "docs" / "images"
SPAN = timedelta(minutes=5)
SHOCK = 0.06
"""What the example's market costs more on its second day, EUR/kWh."""


def slow_evening() -> bytes:
    """The picture of the alert about the demo's slow evening, an hour after it began."""
    begin = next_incidents(datetime(2026, 11, 1, tzinfo=UTC))[SLOW_EVENING]
    node = next(node for node in NODES if node.name == SLOW_EVENING.node)
    now, tailnet = begin + timedelta(hours=1), DemoTailnet()
    points = []
    for step in range(288):
        at = now - timedelta(days=1) + step * SPAN
        pings = tailnet.pings(node, at)
        pongs = [float(str(one["LatencySeconds"])) * 1000 for one in pings if not one["Err"]]
        points.append(DrawnLatency(at, fmean(pongs) if pongs else None))
    return latency_picture(node.name, points, 100.0, SPAN)


def moved_market() -> bytes:
    """The picture of a forecast that did not see a dearer day coming."""
    market, first = Market("Europe/Madrid"), datetime(2026, 11, 23, tzinfo=UTC).date()
    hours = [hour for day in (0, 1) for hour in market.hours_of(first + timedelta(days=day))]
    usual = [(hour, price_of(hour, market)) for hour in hours]
    points = [
        DrawnHour(
            hour,
            price,
            price - 0.02,
            price + 0.02,
            price + (SHOCK if step >= 24 else 0.004 * (-1) ** step) if step < 40 else None,
        )
        for step, (hour, price) in enumerate(usual)
    ]
    return forecast_picture("prophet_price_forecast", points, market.zone)


def write_pictures(place: Path) -> None:
    """Write both as PNGs into a directory."""
    (place / "alert-latency.png").write_bytes(slow_evening())
    (place / "alert-forecast.png").write_bytes(moved_market())


if __name__ == "__main__":
    write_pictures(PLACE)
