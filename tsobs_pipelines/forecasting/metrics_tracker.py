"""The metrics history: every model's error, window by window, in one readable CSV file.

Several processes may log at once: a lock file beside the history lets one write at a time. A new row is
appended in one write; anything else (a row that changed, a metric nobody logged before, a file edited by
hand) writes a new file that takes the old one's place. A killed writer leaves the file as it was, or a torn
last line, which the next writer cuts off. On a file system other than the local disk every change
writes the whole file, and the lock holds for one machine only: one machine writes, any number read.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median

from filelock import FileLock

from tsobs_pipelines.forecasting.history_file import (
    BadLine,
    HistoryError,
    HistoryText,
    Key,
    MetricsRow,
    add_lines,
    checked_row,
    encoded,
    header_columns,
    header_line,
    is_whole,
    parse_header,
    row_line,
    split_lines,
)
from tsobs_pipelines.forecasting.model_files import FileState, open_files
from tsobs_pipelines.forecasting.verdict import MINIMUM_DAYS, baseline_rows
from tsobs_pipelines.secret_url import SecretUrl

log = logging.getLogger(__name__)

HISTORY_NAME = "metrics_history.csv"
REMOVED_NAME = "metrics_history.removed.csv"
"""Lines that were taken out of the history: torn ones, and those that a later line repeats."""
LOCK_TIMEOUT_S = 60
DAY = timedelta(days=1)
JITTER = timedelta(minutes=90)
"""By how much less than a day after its last call a daily caller may come, a clock change included."""

_PROOF_BYTES = 256
"""How much of the known part's end is compared to see that the file only grew."""


@dataclass(slots=True)
class _Known:
    """What this process knows of the file: a prefix of it, parsed."""

    state: FileState | None = None
    size: int = 0
    end: bytes = b""
    lines: int = 0
    line_open: bool = False
    torn: bytes = b""
    columns: tuple[str, ...] = ()
    history: HistoryText = field(default_factory=HistoryText)


class ModelMetricsTracker:
    """Reads and writes the metrics history under ``models_dir``, a path or an fsspec URL."""

    def __init__(
        self,
        models_dir: SecretUrl | str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        locks: Path | None = None,
    ) -> None:
        """``clock`` gives the time a row is logged at, and the window's end where none is given.

        ``locks`` is a private directory for the lock of a history that is not on the local disk.
        """
        self._locks = locks
        self._files = open_files(models_dir)
        self._clock = clock
        self._known = _Known()

    @property
    def place(self) -> str:
        """Where the history is, for people."""
        return self._files.describe(HISTORY_NAME)

    def log_metrics(
        self,
        model_name: str,
        metrics: Mapping[str, float | None],
        *,
        version: str = "1",
        window: tuple[datetime, datetime] | None = None,
    ) -> bool:
        """Log the metrics of one window; ``None`` is an absent value.

        The window is by default the 24 hours before now. It begins where the one of the day before ended, if
        that is up to an hour later: the rows of a daily caller that comes some seconds early do not overlap.

        A window logged before is replaced when a value differs and left alone when none does, so logging is
        safe to repeat. Returns whether the file changed.

        Raises:
            ValueError: a name, a time or a value can't be kept.
            HistoryError: the file has no header that makes sense.
            OSError: the file can't be read or written.
        """
        now = self._clock()
        present = {name: value for name, value in metrics.items() if value is not None}
        with self._lock():
            start, end = window or (self._start_of_day(model_name, version, now), now)
            row = MetricsRow(model_name, version, start, end, present, now.replace(microsecond=0))
            return self._put(checked_row(row))

    def rows(self, model_name: str, version: str | None = None) -> list[MetricsRow]:
        """Every row of the model (and version), by window, the oldest first."""
        found = [
            row
            for row in self._read().rows.values()
            if row.model_name == model_name and version in {None, row.version}
        ]
        return sorted(found, key=lambda row: (row.window_end, row.window_start, row.version))

    def history(self, model_name: str, limit: int = 100) -> list[MetricsRow]:
        """The model's last ``limit`` rows, the oldest first; none for a model that was never logged."""
        if limit < 1:
            raise ValueError(f"limit={limit}, expected at least 1")
        return self.rows(model_name)[-limit:]

    def model_names(self) -> list[str]:
        """Every model with a row, sorted."""
        return sorted({row.model_name for row in self._read().rows.values()})

    def bad_lines(self) -> list[BadLine]:
        """The lines that are no rows, for whoever edited the file; a torn last line is one of them."""
        bad = list(self._read().bad_lines)
        if self._known.torn and self._known.columns:
            text = self._known.torn.decode("utf-8", "replace")
            reason = f"cut off; the next writer moves it to {REMOVED_NAME}"
            bad.append(BadLine(self._known.lines + 1, text, reason))
        return bad

    def get_baseline(
        self,
        model_name: str,
        metric: str,
        *,
        version: str | None = None,
        before: datetime | None = None,
    ) -> float | None:
        """The median of the metric over the model's last 30 days, ``None`` with fewer than 7.

        A day counts once, with its last window. ``version`` is by default that of the newest row: errors of
        two versions are not mixed. ``before`` leaves out each window that ends later: give the start of the
        window under test, so that it is not part of its own baseline.
        """
        rows = self.rows(model_name, version)
        if version is None and rows:
            rows = [row for row in rows if row.version == rows[-1].version]
        values = [row.metrics[metric] for row in baseline_rows(rows, metric, before)]
        return median(values) if len(values) >= MINIMUM_DAYS else None

    def _start_of_day(self, model_name: str, version: str, now: datetime) -> datetime:
        """24 hours before ``now``, or where the window that ended closest to that ended, if that is later."""
        usual = now - DAY
        ends = [row.window_end for row in self.rows(model_name, version)]
        nearest = min(ends, key=lambda end: abs(end - usual), default=usual)
        return nearest if usual < nearest <= usual + JITTER else usual

    def _put(self, row: MetricsRow) -> bool:
        history = self._read()
        old = history.rows.get(row.key)
        if old is not None and old.metrics == row.metrics:
            return False
        new_names = [name for name in row.metrics if name not in history.metric_names]
        path = self._files.local_path(HISTORY_NAME)
        if old is not None or new_names or not history.plain or not self._known.lines or path is None:
            self._rewrite(history, row, (*history.metric_names, *new_names))
        else:
            self._append(path, row_line(row, history.metric_names))
        return True

    def _append(self, path: Path, line: str) -> None:
        known = self._known
        with path.open("r+b") as file:
            file.seek(known.size)
            if known.torn:
                self._keep_removed([])
                file.truncate()
            file.write((b"\n" if known.line_open else b"") + line.encode())
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self, history: HistoryText, row: MetricsRow, names: tuple[str, ...]) -> None:
        self._keep_removed([bad.text for bad in history.bad_lines if bad.superseded])
        rows: dict[Key, MetricsRow] = {**history.rows, row.key: row}
        kept = [bad.text for bad in history.bad_lines if not bad.superseded]
        lines = [header_line(names), *(row_line(each, names) for each in rows.values())]
        self._files.replace(HISTORY_NAME, encoded("".join([*lines, *(f"{text}\n" for text in kept)])))

    def _keep_removed(self, texts: Sequence[str]) -> None:
        """Copy what the next write leaves out into the file beside the history: nothing is lost."""
        torn = self._known.torn
        removed = [encoded(text) for text in texts] + ([torn] if torn else [])
        if not removed:
            return
        log.warning("%s: %d lines moved to %s", self.place, len(removed), REMOVED_NAME)
        try:
            before = self._files.read(REMOVED_NAME)
        except FileNotFoundError:
            before = b""
        new = [line for line in removed if line not in before]
        self._files.replace(REMOVED_NAME, before + b"".join(line + b"\n" for line in new))

    def _read(self) -> HistoryText:
        """The history as it is now; of a file that only grew, only what is new is read."""
        state = self._files.state(HISTORY_NAME)
        if state is None:
            self._known = _Known()
            return self._known.history
        if self._files.local_path(HISTORY_NAME) is None or self._known.state is None:
            self._known = _Known()
        elif self._known.state == state:
            return self._known.history
        offset = max(0, self._known.size - _PROOF_BYTES)
        data = self._files.read(HISTORY_NAME, offset)
        grown = self._known.state is not None and self._known.state.identity == state.identity
        if not grown or not data.startswith(self._known.end) or state.size <= self._known.size:
            self._known = _Known()
            data = self._files.read(HISTORY_NAME) if offset else data
        self._learn(data[len(self._known.end) :], state)
        return self._known.history

    def _learn(self, data: bytes, state: FileState) -> None:
        """Parse what follows the known part; an unterminated last line counts only when it is whole."""
        known = self._known
        lines, rest = split_lines(data)
        taken = data[: len(data) - len(rest)]
        if known.line_open and lines:
            lines = lines[1:]
            known.line_open = False
        if not known.lines and lines:
            known.history = parse_header(lines[0], self.place)
            known.history.plain = known.history.plain and b"\r" not in taken
            known.columns = header_columns(lines[0])
            known.lines, lines = 1, lines[1:]
        if rest and known.columns and is_whole(rest.decode("utf-8", "replace"), known.columns):
            lines += split_lines(rest + b"\n")[0]
            taken, rest = taken + rest, b""
            known.line_open = True
        add_lines(known.history, known.columns, lines, known.lines + 1)
        known.lines += len(lines)
        known.size += len(taken)
        known.end = (known.end + taken)[-_PROOF_BYTES:]
        known.torn = rest
        known.state = state

    def _lock(self) -> FileLock:
        path = self._files.local_path(f".{HISTORY_NAME}.lock")
        if path is None:
            name = sha256(self.place.encode()).hexdigest()[:16]
            path = (self._locks or _private_folder()) / f"history-{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever can open the file can hold the lock.
        if path.exists():
            path.chmod(0o600)
        return FileLock(path, timeout=LOCK_TIMEOUT_S, mode=0o600)


def _private_folder() -> Path:
    """A folder of this user alone, below the temporary one, whose names others could take."""
    folder = Path(tempfile.gettempdir()) / f"tsobs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise HistoryError(f"{folder}: expected a directory of user {os.getuid()} alone")
    return folder
