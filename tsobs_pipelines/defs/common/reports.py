"""Typed metadata of materialisations: written by assets, read by sensors.

Each report is declared once with its types, and both sides use it. ``written`` gives plain values, which
whoever materialises wraps for the UI; ``read`` takes the metadata of an event of any version of tsobs, and
leaves out what it does not understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Self, TypeAlias

from tsobs_pipelines.timeseries.store import Window

Plain: TypeAlias = str | float | bool

_NO_TIME = "none"


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What a collection of ``connection_metrics`` reports: how it read the journal, and what it found."""

    mode: str
    """``incremental``, or ``full`` where the whole day was replaced."""
    first_round: datetime | None
    last_round: datetime | None

    @property
    def whole_day(self) -> bool:
        """Whether the partition's day was replaced as a whole."""
        return self.mode != "incremental"

    def written(self) -> dict[str, Plain]:
        """The report as metadata."""
        times = {"first_round": self.first_round, "last_round": self.last_round}
        texts = {name: time.isoformat() if time else _NO_TIME for name, time in times.items()}
        return {"mode": self.mode, **texts}

    @classmethod
    def read(cls, metadata: Mapping[str, object]) -> Self:
        """The report in a materialisation's metadata."""
        first, last = (_time(metadata.get(name)) for name in ("first_round", "last_round"))
        return cls(str(metadata.get("mode", "")), first, last)


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What an evaluation of forecasts reports, each value as far as there is one. Errors in EUR/kWh.

    ``degraded`` is absent where too few hours or days were scored for a verdict.
    """

    window: Window | None = None
    mae: float | None = None
    baseline_mae: float | None = None
    naive_mae: float | None = None
    naive_baseline_mae: float | None = None
    skill_ratio_7d: float | None = None
    degraded: bool | None = None

    def written(self) -> dict[str, Plain]:
        """The report as metadata, without what is absent."""
        shown = {name: getattr(self, name) for name in _NUMBERS if getattr(self, name) is not None}
        if self.window is not None:
            shown["window"] = f"{self.window.start.isoformat()} to {self.window.end.isoformat()}"
        if self.degraded is not None:
            shown["degraded"] = self.degraded
        return shown

    @classmethod
    def read(cls, metadata: Mapping[str, object]) -> Self:
        """The report in a materialisation's metadata."""
        numbers = {name: _number(metadata.get(name)) for name in _NUMBERS}
        degraded = metadata.get("degraded")
        return cls(
            window=_window(metadata.get("window")),
            degraded=degraded if isinstance(degraded, bool) else None,
            **numbers,
        )


_NUMBERS = [field.name for field in fields(EvaluationReport) if field.type == "float | None"]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time.astimezone(UTC) if time is not None and time.tzinfo is not None else None


def _window(value: object) -> Window | None:
    start, _, end = value.partition(" to ") if isinstance(value, str) else ("", "", "")
    first, last = _time(start), _time(end)
    return Window(first, last) if first is not None and last is not None and first <= last else None
