"""Draws the pictures that follow messages: PNGs that are readable on a phone, also in dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BYTES = 200_000

_SIZE_IN, _DPI = (7.2, 5.0), 100
_GROUND, _TEXT, _GRID = "#17212b", "#e8eef3", "#3a4a59"
_LINE, _LIMIT, _ACTUAL = "#6ab3f3", "#ff7b72", "#ffd166"
_POINTS = 16
"""Twice what reads well: a phone shows the picture at half its width."""


@dataclass(frozen=True, slots=True)
class DrawnLatency:
    """The mean latency of a span that begins then; ``None``: no pong."""

    time: datetime
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class DrawnHour:
    """One hour: what was forecast, its 80 % interval, and the price; EUR/kWh, ``None`` if not known."""

    hour: datetime
    yhat: float | None
    lower: float | None
    upper: float | None
    price: float | None


def latency_picture(node: str, points: Sequence[DrawnLatency], limit_ms: float, span: timedelta) -> bytes:
    """The node's mean latencies over its threshold; ``span`` is the length of a span, times in UTC."""
    figure, axes = _canvas(f"{node}: latency (ms)")
    times, values = [], []
    for before, point in zip([None, *points], points, strict=False):
        if before is not None and point.time - before.time > span:
            times.append(before.time + span)
            values.append(math.nan)
        times.append(point.time)
        values.append(math.nan if point.latency_ms is None else point.latency_ms)
    spans = _numbers(times)
    axes.plot(spans, values, color=_LINE, linewidth=2.2)
    over = [value > limit_ms for value in values]
    axes.fill_between(spans, values, limit_ms, where=over, color=_LIMIT, alpha=0.45, linewidth=0)
    axes.axhline(limit_ms, color=_LIMIT, linewidth=2, linestyle="--")
    axes.annotate(
        f"limit {limit_ms:g}",
        (0.01, limit_ms),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        color=_LIMIT,
        fontsize=_POINTS,
    )
    highest = max((value for value in values if not math.isnan(value)), default=limit_ms)
    axes.set_ylim(0, 1.15 * max(highest, limit_ms))
    _clock(axes, None)
    return _png(figure)


def forecast_picture(model: str, points: Sequence[DrawnHour], zone: tzinfo) -> bytes:
    """Forecast, 80 % interval and prices of these hours, in local time."""
    figure, axes = _canvas(f"{model} (EUR/kWh)")
    hours = _numbers([point.hour for point in points])
    lower, upper, yhat, price = (
        [math.nan if value is None else value for value in column]
        for column in zip(*((p.lower, p.upper, p.yhat, p.price) for p in points), strict=True)
    )
    axes.fill_between(hours, lower, upper, color=_LINE, alpha=0.3, linewidth=0, label="80 %")
    axes.plot(hours, yhat, color=_LINE, linewidth=2.2, label="forecast")
    axes.plot(hours, price, color=_ACTUAL, linewidth=2.2, marker=".", markersize=7, label="price")
    axes.legend(
        fontsize=_POINTS - 2,
        labelcolor=_TEXT,
        frameon=False,
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, -0.28),
        handlelength=1.4,
        columnspacing=1.2,
    )
    _clock(axes, zone)
    return _png(figure)


def _canvas(title: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - 1 s and 40 MB
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, facecolor=_GROUND, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=_GROUND)
    axes.set_title(_safe(title), color=_TEXT, fontsize=_POINTS + 2, loc="left")
    axes.tick_params(colors=_TEXT, labelsize=_POINTS - 1, length=0)
    axes.grid(color=_GRID, linewidth=0.8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes


def _safe(title: str) -> str:
    """A title of one line, in which no ``$`` begins a formula."""
    short = title if len(title) <= 44 else f"{title[:21]}…{title[-22:]}"
    return short.replace("$", r"\$")


def _numbers(times: Sequence[datetime]) -> list[float]:
    """Days since the epoch: what matplotlib's dates are."""
    return [time.timestamp() / 86_400 for time in times]


def _clock(axes: Axes, zone: tzinfo | None) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter  # noqa: PLC0415 - as above

    axes.xaxis.set_major_locator(AutoDateLocator(tz=zone, minticks=3, maxticks=6))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M\n%d %b", tz=zone))  # type: ignore[no-untyped-call]
    axes.margins(x=0)
    name = "UTC" if zone is None else str(zone)
    axes.set_xlabel(name, color=_TEXT, fontsize=_POINTS - 3, loc="right")


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    if out.tell() > MAX_BYTES:
        msg = f"a picture of {out.tell()} bytes: expected at most {MAX_BYTES}"
        raise ValueError(msg)
    return out.getvalue()
