"""A small plot of a forecast and the actual prices, for the metadata of a materialisation."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.models.interface import Prices
from tsobs_pipelines.forecasting.scoring import FrozenForecast

WIDTH_IN, HEIGHT_IN, DPI = 6.4, 2.6, 80


def forecast_picture(title: str, forecasts: Sequence[FrozenForecast], prices: Prices, market: Market) -> str:
    """Markdown with a PNG inside: forecast, 80 % interval and actual prices in €/MWh, over local hours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - 1 s
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axis = list(range(len(forecasts)))
    lower = [each.lower * 1000 for each in forecasts]
    upper = [each.upper * 1000 for each in forecasts]
    axes.fill_between(axis, lower, upper, color="#4477aa", alpha=0.2, linewidth=0, label="80 % interval")
    axes.plot(axis, [each.yhat * 1000 for each in forecasts], color="#4477aa", label="forecast")
    known = [(step, prices[each.hour] * 1000) for step, each in enumerate(forecasts) if each.hour in prices]
    if known:
        axes.plot(*zip(*known, strict=True), color="#222222", marker=".", linewidth=1, label="actual")
    ticks = axis[::3]
    axes.set_xticks(ticks, [f"{forecasts[step].hour.astimezone(market.zone):%H}" for step in ticks])
    axes.set_title(title, fontsize=9)
    axes.set_ylabel("€/MWh", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="upper left", frameon=False)
    png = BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return f"![{title}](data:image/png;base64,{b64encode(png.getvalue()).decode()})"
