"""The format of ``metrics_history.csv``: rows to lines and back, and invalid lines.

The form: UTF-8, commas, a header, one line for each (model, version, window), times in RFC 3339 UTC, numbers
with a point, an absent value as nothing. ``logged_at`` is always the last column: it ends in ``Z``, so a line
that was cut off anywhere can't be taken for a whole one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import TypeAlias

Key: TypeAlias = tuple[str, str, datetime, datetime]
"""Model, version, window start and window end: what tells one row from another."""

KEY_COLUMNS = ("model_name", "version", "window_start", "window_end")
LAST_COLUMN = "logged_at"

_LINE_END = re.compile(rb"\r\n|\n|\r")
_ERRORS = "surrogateescape"
_FIRST_YEAR, _LAST_YEAR = 1900, 2999
_REASON = 300
"""Characters of what is wrong with a line."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,199}")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")


class HistoryError(ValueError):
    """The metrics history can't be read or written; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """The metrics of one model version over one window, ``window_start <= hour < window_end`` (UTC)."""

    model_name: str
    version: str
    window_start: datetime
    window_end: datetime
    metrics: Mapping[str, float]
    logged_at: datetime

    @property
    def key(self) -> Key:
        """What tells this row from others."""
        return (self.model_name, self.version, self.window_start, self.window_end)

    def get(self, metric: str) -> float | None:
        """The metric's value, ``None`` when it is absent."""
        return self.metrics.get(metric)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a row: its number (the header is 1), its text and what is wrong with it."""

    number: int
    text: str
    reason: str
    superseded: bool = False
    """Whether a later line says the same thing, so that nothing is lost without this one."""


@dataclass(slots=True)
class HistoryText:
    """A parsed file: metric columns in their order, rows by key in the order of lines, and bad lines."""

    metric_names: tuple[str, ...] = ()
    rows: dict[Key, MetricsRow] = field(default_factory=dict)
    bad_lines: list[BadLine] = field(default_factory=list)
    plain: bool = True
    """Whether lines can be appended as they are: the header is in our order."""


def checked_row(row: MetricsRow) -> MetricsRow:
    """The row with times in whole-second-or-finer UTC and only finite, present metrics.

    Raises:
        ValueError: a name, a time or a value can't be kept; the text names it.
    """
    for name in (row.model_name, row.version):
        if not _NAME.fullmatch(name):
            raise ValueError(f"name {name!r}, expected letters, digits and _ . : @ + - (at most 200)")
    for time in (row.window_start, row.window_end, row.logged_at):
        if time.tzinfo is None:
            raise ValueError(f"time {time.isoformat()}, expected a timezone-aware time")
    if row.window_start >= row.window_end:
        raise ValueError(f"window {row.window_start} to {row.window_end}, expected an end after the start")
    for metric, value in row.metrics.items():
        if not _METRIC.fullmatch(metric) or metric in {*KEY_COLUMNS, LAST_COLUMN}:
            raise ValueError(f"metric name {metric!r}, expected small letters, digits and _")
        if not isfinite(value):
            raise ValueError(f"{metric}={value!r}, expected a finite number (leave an undefined metric out)")
    return MetricsRow(
        row.model_name,
        row.version,
        row.window_start.astimezone(UTC),
        row.window_end.astimezone(UTC),
        {metric: float(value) for metric, value in row.metrics.items()},
        row.logged_at.astimezone(UTC),
    )


def header_line(metric_names: Sequence[str]) -> str:
    """The first line, with its line end."""
    return _joined([*KEY_COLUMNS, *metric_names, LAST_COLUMN])


def row_line(row: MetricsRow, metric_names: Sequence[str]) -> str:
    """The row's line under the header of ``metric_names``, with its line end."""
    values = [_number(row.metrics[name]) if name in row.metrics else "" for name in metric_names]
    times = [format_time(row.window_start), format_time(row.window_end)]
    return _joined([row.model_name, row.version, *times, *values, format_time(row.logged_at)])


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC, for example ``2026-11-24T02:05:00Z``."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def parse_header(line: str, place: str) -> HistoryText:
    """An empty history with the columns of the header.

    Raises:
        HistoryError: the line is no header of a metrics history.
    """
    try:
        names = list(header_columns(line))
    except csv.Error as error:
        raise HistoryError(f"{place}, line 1: {error}. Repair the line or move the file away.") from None
    missing = [name for name in (*KEY_COLUMNS, LAST_COLUMN) if name not in names]
    if missing or len(set(names)) != len(names):
        raise HistoryError(
            f"{place}, line 1: no header of a metrics history ({', '.join(missing) or 'a name twice'}); "
            f"expected {','.join(KEY_COLUMNS)},…,{LAST_COLUMN}. Repair the line or move the file away."
        )
    metrics = tuple(name for name in names if name not in {*KEY_COLUMNS, LAST_COLUMN})
    ours = [*KEY_COLUMNS, *metrics, LAST_COLUMN] == names
    return HistoryText(metrics, plain=ours and line == header_line(metrics).rstrip("\n"))


def parse_line(line: str, columns: Sequence[str]) -> MetricsRow:
    """One row.

    Raises:
        ValueError: the line is not a whole row; the text says why.
    """
    cells = next(csv.reader([line]), [])
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells, expected {len(columns)}")
    by_name = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
    metrics: dict[str, float] = {}
    for name in columns:
        if name in {*KEY_COLUMNS, LAST_COLUMN} or not by_name[name]:
            continue
        try:
            metrics[name] = float(by_name[name])
        except ValueError:
            raise ValueError(f"{name}={by_name[name]!r}, expected a number") from None
    return checked_row(
        MetricsRow(
            by_name["model_name"],
            by_name["version"],
            _time("window_start", by_name["window_start"]),
            _time("window_end", by_name["window_end"]),
            metrics,
            _time(LAST_COLUMN, by_name[LAST_COLUMN]),
        )
    )


def header_columns(line: str) -> tuple[str, ...]:
    """The names in the header, in the file's order."""
    return tuple(name.strip() for name in next(csv.reader([line.lstrip("\ufeff")]), []))


def add_lines(history: HistoryText, columns: Sequence[str], lines: Sequence[str], first_number: int) -> None:
    """Parse ``lines`` into ``history``; of two rows with one key the later one counts."""
    for number, line in enumerate(lines, start=first_number):
        if not line.strip():
            continue
        try:
            row = parse_line(line, columns)
        except (ValueError, csv.Error) as error:
            history.bad_lines.append(BadLine(number, line, str(error)[:_REASON]))
            continue
        if row.key in history.rows:
            reason = "the same model, version and window as an earlier line, in whose place it is taken"
            history.bad_lines.append(BadLine(number, line, reason, superseded=True))
        history.rows[row.key] = row


def is_whole(line: str, columns: Sequence[str]) -> bool:
    """Whether an unterminated last line is a row that merely lacks its line end.

    Our own lines end in the ``Z`` of ``logged_at``; a file with other columns last was written by hand.
    """
    try:
        parse_line(line, columns)
    except (ValueError, csv.Error):
        return False
    return columns[-1] != LAST_COLUMN or line.rstrip().endswith("Z")


def _time(name: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    # Near the ends of the calendar neither UTC nor a day before or after exists.
    if time is None or time.tzinfo is None or not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise ValueError(f"{name}={text!r}, expected a time such as 2026-11-24T02:05:00Z")
    return time.astimezone(UTC)


def split_lines(data: bytes) -> tuple[list[str], bytes]:
    """The lines that are ended, by LF, CR LF or CR, and what comes after the last end.

    Bytes that are no UTF-8 come back as they were when the text is encoded by :func:`encoded`.
    """
    *ended, rest = _LINE_END.split(data)
    return [line.decode("utf-8", _ERRORS) for line in ended], rest


def encoded(text: str) -> bytes:
    """The bytes of a text whose lines came from :func:`split_lines`."""
    return text.encode("utf-8", _ERRORS)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _joined(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
