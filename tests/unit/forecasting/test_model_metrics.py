"""The metrics history: what is logged, what is read back, and damaged files."""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from tsobs_pipelines.forecasting.history_file import KEY_COLUMNS, HistoryError
from tsobs_pipelines.forecasting.metrics_tracker import HISTORY_NAME, ModelMetricsTracker
from tsobs_pipelines.forecasting.verdict import describe, judge

MODEL = "prophet_price_forecast"
START = datetime(2026, 10, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LOGGED = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)


def window(day: int) -> tuple[datetime, datetime]:
    return START + DAY * day, START + DAY * (day + 1)


def log_days(tracker: ModelMetricsTracker, maes: list[float], **others: float) -> None:
    for day, mae in enumerate(maes):
        tracker.log_metrics(MODEL, {"mae": mae, "n": 24, **others}, window=window(day))


@pytest.fixture
def tracker(tmp_path: Path) -> ModelMetricsTracker:
    return ModelMetricsTracker(str(tmp_path), clock=lambda: LOGGED)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / HISTORY_NAME


# The four tests of the request.


def test_log_metrics_appends_a_row_to_the_csv(tracker: ModelMetricsTracker, file: Path) -> None:
    assert tracker.log_metrics(MODEL, {"mae": 0.01, "rmse": 0.02, "r2": 0.9}, window=window(0))
    before = file.read_bytes()
    assert tracker.log_metrics(MODEL, {"mae": 0.02, "rmse": 0.03, "r2": 0.8}, window=window(1))
    assert file.read_bytes().startswith(before)
    rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    assert [row["mae"] for row in rows] == ["0.01", "0.02"]
    assert rows[1] == {
        "model_name": MODEL,
        "version": "1",
        "window_start": "2026-10-02T00:00:00Z",
        "window_end": "2026-10-03T00:00:00Z",
        "mae": "0.02",
        "rmse": "0.03",
        "r2": "0.8",
        "logged_at": "2026-11-24T02:05:00Z",
    }


def test_the_baseline_is_the_median(tracker: ModelMetricsTracker) -> None:
    log_days(tracker, [0.5, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert tracker.get_baseline(MODEL, "mae") == pytest.approx(0.04)


def test_an_error_above_twice_the_baseline_alerts_and_exactly_twice_does_not(
    tracker: ModelMetricsTracker,
) -> None:
    log_days(tracker, [0.01] * 8 + [0.02])
    at_twice = judge(tracker.rows(MODEL))
    assert at_twice is not None
    assert at_twice.degraded is False
    tracker.log_metrics(MODEL, {"mae": 0.02000001, "n": 24}, window=window(9))
    above = judge(tracker.rows(MODEL))
    assert above is not None
    assert above.degraded is True
    assert "2.0 x the baseline 10.00 €/MWh (median of 9 earlier days)" in describe(above)


def test_the_history_is_the_last_rows_oldest_first(tracker: ModelMetricsTracker) -> None:
    log_days(tracker, [0.01 * (day + 1) for day in range(5)])
    assert [row.metrics["mae"] for row in tracker.history(MODEL, 3)] == pytest.approx([0.03, 0.04, 0.05])
    assert len(tracker.history(MODEL)) == 5
    assert tracker.history("another", 3) == []
    with pytest.raises(ValueError, match="limit=0"):
        tracker.history(MODEL, 0)


# What a baseline is made of.


def test_fewer_than_seven_days_are_no_baseline(tracker: ModelMetricsTracker) -> None:
    log_days(tracker, [0.01] * 6)
    assert tracker.get_baseline(MODEL, "mae") is None
    verdict = judge(tracker.rows(MODEL))
    assert verdict is not None
    assert verdict.degraded is None
    assert "no verdict: 5 of the 7 earlier days" in describe(verdict)


def test_the_day_under_test_is_not_part_of_its_baseline(tracker: ModelMetricsTracker) -> None:
    log_days(tracker, [0.01] * 7 + [9.0])
    assert tracker.get_baseline(MODEL, "mae", before=window(7)[0]) == pytest.approx(0.01)
    verdict = judge(tracker.rows(MODEL))
    assert verdict is not None
    assert verdict.baseline == pytest.approx(0.01)
    assert verdict.days == 7


def test_the_baseline_looks_back_thirty_days(tracker: ModelMetricsTracker) -> None:
    maes = [9.0] * 40 + [0.01 * (1 + day % 3) for day in range(30)]
    log_days(tracker, maes)
    assert tracker.get_baseline(MODEL, "mae") == median(maes[-30:])


def test_a_day_scored_every_hour_counts_once(tracker: ModelMetricsTracker) -> None:
    log_days(tracker, [0.01] * 7)
    for hour in range(1, 24):
        shifted = (window(6)[0] + timedelta(hours=hour), window(6)[1] + timedelta(hours=hour))
        tracker.log_metrics(MODEL, {"mae": 5.0, "n": 24}, window=shifted)
    assert tracker.get_baseline(MODEL, "mae", before=window(8)[0]) == pytest.approx(0.01)


@pytest.mark.parametrize("seed", range(4))
def test_a_caller_that_comes_daily_but_not_to_the_second_counts_each_day(tmp_path: Path, seed: int) -> None:
    jitter = random.Random(seed)  # noqa: S311 - no secret
    now = [START]
    tracker = ModelMetricsTracker(str(tmp_path), clock=lambda: now[0])
    for day in range(1, 15):
        now[0] = START + DAY * day + timedelta(seconds=jitter.uniform(-30, 30))
        tracker.log_metrics(MODEL, {"mae": 0.01 * day, "n": 24})
        assert (tracker.get_baseline(MODEL, "mae") is not None) == (day >= 7)
    rows = tracker.rows(MODEL)
    assert len(rows) == 14
    assert all(before.window_end <= after.window_start for before, after in pairwise(rows))
    assert tracker.get_baseline(MODEL, "mae") == pytest.approx(0.075)
    verdict = judge(rows)
    assert verdict is not None
    assert verdict.days == 13


def test_a_caller_that_comes_every_five_minutes_logs_24_hours_each_time(tmp_path: Path) -> None:
    now = [START]
    tracker = ModelMetricsTracker(str(tmp_path), clock=lambda: now[0])
    for step in range(2 * 24 * 12):
        now[0] = START + timedelta(minutes=5) * step
        tracker.log_metrics(MODEL, {"mae": 0.01, "n": 24})
    second_day = [row for row in tracker.rows(MODEL) if row.window_end >= START + DAY]
    assert len(second_day) == 24 * 12
    assert {row.window_end - row.window_start for row in second_day} == {DAY}


@pytest.mark.parametrize("seed", range(4))
def test_a_caller_at_the_same_hour_of_the_clock_counts_the_days_of_clock_changes(
    tmp_path: Path, seed: int
) -> None:
    jitter = random.Random(seed)  # noqa: S311 - no secret
    zone = ZoneInfo("Europe/Madrid")
    for change in (datetime(2026, 3, 29, 6, tzinfo=zone), datetime(2026, 10, 25, 6, tzinfo=zone)):
        now = [START]
        tracker = ModelMetricsTracker(str(tmp_path / f"{change:%B}"), clock=lambda now=now: now[0])  # type: ignore[misc]
        for day in range(-7, 8):
            now[0] = (change + DAY * day).astimezone(UTC) + timedelta(seconds=jitter.uniform(-30, 30))
            tracker.log_metrics(MODEL, {"mae": 0.01, "n": 24})
        verdict = judge(tracker.rows(MODEL))
        assert verdict is not None
        assert verdict.days == 14


def test_versions_are_not_mixed(tracker: ModelMetricsTracker) -> None:
    for day in range(20):
        version = "1" if day < 12 else "2"
        mae = 0.01 if version == "1" else 0.05
        tracker.log_metrics(MODEL, {"mae": mae, "n": 24}, version=version, window=window(day))
    assert tracker.get_baseline(MODEL, "mae") == pytest.approx(0.05)
    assert tracker.get_baseline(MODEL, "mae", version="1") == pytest.approx(0.01)
    verdict = judge(tracker.rows(MODEL), as_of=window(13)[1])
    assert verdict is not None
    assert (verdict.version, verdict.degraded, verdict.days) == ("2", None, 1)


def test_a_day_with_few_hours_is_no_part_of_a_baseline_and_gets_no_verdict(
    tracker: ModelMetricsTracker,
) -> None:
    log_days(tracker, [0.01] * 7)
    tracker.log_metrics(MODEL, {"mae": 9.0, "n": 19}, window=window(7))
    verdict = judge(tracker.rows(MODEL))
    assert verdict is not None
    assert verdict.degraded is None
    assert "fewer than 20 hours" in describe(verdict)
    assert tracker.get_baseline(MODEL, "mae") == pytest.approx(0.01)


def test_the_verdict_says_since_when_and_whether_the_naive_forecast_failed(
    tracker: ModelMetricsTracker,
) -> None:
    for day in range(12):
        bad = day >= 10
        metrics = {"mae": 0.04 if bad else 0.01, "n": 24, "naive_mae": 0.05 if day == 11 else 0.012}
        tracker.log_metrics(MODEL, metrics, window=window(day))
    alone = judge(tracker.rows(MODEL), as_of=window(10)[1])
    both = judge(tracker.rows(MODEL))
    assert alone is not None
    assert both is not None
    assert (alone.naive_failed, both.naive_failed) == (False, True)
    assert both.since == window(10)[0]
    said = describe(both)
    assert "MAE 40.00 €/MWh over the 24 hours to 2026-10-13 00:00 UTC" in said
    assert "4.0 x the baseline 10.00 €/MWh" in said
    assert "since 2026-10-11 00:00 UTC" in said
    assert "the market moved" in said
    assert "look at the model" in describe(alone)


def test_the_skill_warning_is_a_second_verdict(tracker: ModelMetricsTracker) -> None:
    for day in range(20):
        metrics = {"mae": 0.012 if day < 12 else 0.022, "n": 24, "naive_mae": 0.013}
        tracker.log_metrics(MODEL, metrics, window=window(day))
    verdict = judge(tracker.rows(MODEL))
    assert verdict is not None
    assert (verdict.degraded, verdict.skill_warning) == (False, True)
    assert "1.69 x that of taking the same hour of the day before, since" in describe(verdict)


def test_a_week_in_which_yesterday_is_hard_to_beat_is_no_lost_skill(tracker: ModelMetricsTracker) -> None:
    for day in range(20):
        metrics = {"mae": 0.012, "n": 24, "naive_mae": 0.016 if day < 13 else 0.006}
        tracker.log_metrics(MODEL, metrics, window=window(day))
    verdict = judge(tracker.rows(MODEL))
    assert verdict is not None
    assert verdict.skill_ratio == pytest.approx(0.75)
    assert verdict.skill_warning is False


# The file.


def test_logging_the_same_again_changes_no_byte(tracker: ModelMetricsTracker, file: Path) -> None:
    log_days(tracker, [0.01, 0.02])
    before = file.read_bytes()
    later = ModelMetricsTracker(str(file.parent))
    assert not later.log_metrics(MODEL, {"mae": 0.02, "n": 24}, window=window(1))
    assert file.read_bytes() == before


def test_a_corrected_window_takes_the_old_ones_place(tracker: ModelMetricsTracker, file: Path) -> None:
    log_days(tracker, [0.01, 0.02, 0.03])
    assert tracker.log_metrics(MODEL, {"mae": 0.025, "n": 24}, window=window(1))
    assert [row.metrics["mae"] for row in tracker.history(MODEL)] == [0.01, 0.025, 0.03]
    assert len(file.read_text().splitlines()) == 4


def test_new_metric_names_are_new_columns(tracker: ModelMetricsTracker, file: Path) -> None:
    log_days(tracker, [0.01])
    tracker.log_metrics(MODEL, {"mae": 0.02, "n": 24, "pinball": 0.005}, window=window(1))
    frame = pd.read_csv(file)
    assert list(frame.columns) == [*KEY_COLUMNS, "mae", "n", "pinball", "logged_at"]
    assert frame["pinball"].isna().tolist() == [True, False]
    tracker.log_metrics(MODEL, {"mae": 0.03}, window=window(2))
    assert [row.get("pinball") for row in tracker.history(MODEL)] == [None, 0.005, None]


def test_absent_values_are_empty_cells(tracker: ModelMetricsTracker, file: Path) -> None:
    tracker.log_metrics(MODEL, {"mae": 0.01, "r2": 0.5}, window=window(0))
    tracker.log_metrics(MODEL, {"mae": 0.01, "r2": None}, window=window(1))
    assert file.read_text().splitlines()[2].split(",")[5] == ""


@pytest.mark.parametrize(
    ("name", "metrics", "expected"),
    [
        ("a,b", {"mae": 1.0}, "name 'a,b'"),
        (MODEL, {"mae": float("nan")}, "mae=nan"),
        (MODEL, {"mae": float("inf")}, "mae=inf"),
        (MODEL, {"M A E": 1.0}, "metric name 'M A E'"),
        (MODEL, {"version": 1.0}, "metric name 'version'"),
    ],
)
def test_what_can_not_be_kept_is_refused(
    tracker: ModelMetricsTracker, file: Path, name: str, metrics: dict[str, float], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        tracker.log_metrics(name, metrics)
    assert not file.exists()


def test_naive_times_and_empty_windows_are_refused(tracker: ModelMetricsTracker) -> None:
    naive = datetime(2026, 10, 1)  # noqa: DTZ001 - the mistake under test
    with pytest.raises(ValueError, match="timezone-aware"):
        tracker.log_metrics(MODEL, {"mae": 1.0}, window=(naive, naive + DAY))
    with pytest.raises(ValueError, match="end after the start"):
        tracker.log_metrics(MODEL, {"mae": 1.0}, window=(START, START))


def test_every_torn_last_line_is_repaired(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = ModelMetricsTracker(str(tmp_path / "whole"), clock=lambda: LOGGED)
    log_days(whole, [0.01, 0.02])
    content = (tmp_path / "whole" / HISTORY_NAME).read_bytes()
    start = content.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(start + 1, len(content)):
        place = tmp_path / str(end)
        place.mkdir()
        (place / HISTORY_NAME).write_bytes(content[:end])
        tracker = ModelMetricsTracker(str(place), clock=lambda: LOGGED)
        kept = 2 if end == len(content) - 1 else 1
        assert len(tracker.history(MODEL)) == kept, content[:end]
        assert len(tracker.bad_lines()) == 2 - kept
        tracker.log_metrics(MODEL, {"mae": 0.02, "n": 24}, window=window(1))
        tracker.log_metrics(MODEL, {"mae": 0.03, "n": 24}, window=window(2))
        lines = (place / HISTORY_NAME).read_bytes().splitlines(keepends=True)
        assert lines[:3] == content.splitlines(keepends=True)
        assert len(lines) == 4
        assert tracker.bad_lines() == []
    assert "moved to metrics_history.removed.csv" in caplog.text


def test_a_file_edited_by_hand_is_read_as_far_as_it_makes_sense(
    tracker: ModelMetricsTracker, file: Path
) -> None:
    log_days(tracker, [0.01 * (day + 1) for day in range(6)])
    lines = file.read_text().splitlines()
    lines[2] = lines[2].replace("0.02", "two cents")
    lines[3] = lines[3].replace("2026-10-03T00:00:00Z", "03/10/2026")
    lines[4] += ",more"
    lines.insert(5, "")
    lines.append("a note: retrained on Monday")
    file.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", "utf-8")
    other = ModelMetricsTracker(str(file.parent), clock=lambda: LOGGED)
    assert [row.metrics["mae"] for row in other.history(MODEL)] == pytest.approx([0.01, 0.05, 0.06])
    named = {bad.number: bad.reason for bad in other.bad_lines()}
    assert sorted(named) == [3, 4, 5, 9]
    assert named[3] == "mae='two cents', expected a number"
    assert "window_start='03/10/2026'" in named[4]
    assert named[5] == "8 cells, expected 7"
    other.log_metrics(MODEL, {"mae": 0.07, "n": 24}, window=window(6))
    assert [row.metrics["mae"] for row in other.history(MODEL)] == pytest.approx([0.01, 0.05, 0.06, 0.07])
    text = file.read_text("utf-8")
    for kept in ("two cents", "03/10/2026", ",more", "a note: retrained on Monday"):
        assert kept in text


def test_columns_in_another_order_are_understood(tracker: ModelMetricsTracker, file: Path) -> None:
    log_days(tracker, [0.01, 0.02])
    frame = pd.read_csv(file)
    frame[sorted(frame.columns, reverse=True)].to_csv(file, index=False)
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    other = ModelMetricsTracker(str(file.parent), clock=lambda: LOGGED)
    assert [row.metrics["mae"] for row in other.history(MODEL)] == [0.01, 0.02]
    other.log_metrics(MODEL, {"mae": 0.03}, window=window(2))
    assert file.read_text().startswith(",".join(KEY_COLUMNS))
    assert len(other.history(MODEL)) == 3


def test_of_two_lines_for_one_window_the_later_counts_and_the_earlier_is_named(
    tracker: ModelMetricsTracker, file: Path
) -> None:
    log_days(tracker, [0.01])
    line = file.read_text().splitlines()[1]
    file.write_text(file.read_text() + line.replace("0.01", "0.09") + "\n")
    assert [row.metrics["mae"] for row in tracker.history(MODEL)] == [0.09]
    assert [bad.superseded for bad in tracker.bad_lines()] == [True]


def test_a_file_without_a_header_that_makes_sense_is_left_alone(
    tracker: ModelMetricsTracker, file: Path
) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("date;mae\n2026-10-01;0.01\n")
    with pytest.raises(HistoryError, match=r"metrics_history\.csv, line 1: no header"):
        tracker.log_metrics(MODEL, {"mae": 1.0})
    assert file.read_text() == "date;mae\n2026-10-01;0.01\n"


def test_pandas_reads_what_was_logged(tracker: ModelMetricsTracker, file: Path) -> None:
    values = [0.1 + 0.2, 1 / 3, 1e-7, 12345678.9]
    log_days(tracker, values, r2=-253.5)
    frame = pd.read_csv(file, parse_dates=["window_start", "window_end", "logged_at"])
    assert frame["mae"].tolist() == values
    assert str(frame["window_end"].dt.tz) == "UTC"
    assert frame["window_end"].tolist() == [pd.Timestamp(window(day)[1]) for day in range(4)]


def test_another_process_sees_what_was_written(tracker: ModelMetricsTracker, file: Path) -> None:
    reader = ModelMetricsTracker(str(file.parent))
    assert reader.history(MODEL) == []
    for day in range(5):
        tracker.log_metrics(MODEL, {"mae": 0.01, "n": 24}, window=window(day))
        assert len(reader.history(MODEL)) == day + 1
    tracker.log_metrics(MODEL, {"mae": 0.05, "n": 24}, window=window(2))
    assert [row.metrics["mae"] for row in reader.history(MODEL)] == [0.01, 0.01, 0.05, 0.01, 0.01]
    file.unlink()
    assert reader.history(MODEL) == []


@pytest.mark.parametrize("url", ["memory://tracker-{}", "file://{}"])
def test_the_history_may_be_an_fsspec_url(tmp_path: Path, url: str) -> None:
    where = url.format(tmp_path)
    tracker = ModelMetricsTracker(where, clock=lambda: LOGGED)
    assert tracker.history(MODEL) == []
    log_days(tracker, [0.01, 0.02, 0.03])
    tracker.log_metrics(MODEL, {"mae": 0.05}, window=window(1))
    assert tracker.place.endswith(HISTORY_NAME)
    again = ModelMetricsTracker(where)
    assert [row.metrics["mae"] for row in again.history(MODEL)] == [0.01, 0.05, 0.03]
    assert not again.log_metrics(MODEL, {"mae": 0.05}, window=window(1))
    assert again.model_names() == [MODEL]


# Several processes.


def write_days(directory: str, name: str, first: int, last: int, ready: Callable[[], object]) -> None:
    """In a process of its own: log a window a day."""
    ready()
    tracker = ModelMetricsTracker(directory)
    for day in range(first, last):
        tracker.log_metrics(name, {"mae": day / 1000, f"only_{name}": 1.0}, window=window(day))


def test_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(4)
    # Two write rows of their own, two the same rows.
    jobs = [("a", 0, 60), ("b", 0, 60), ("both", 0, 60), ("both", 0, 60)]
    processes = [
        context.Process(target=write_days, args=(str(tmp_path), *job, gate.wait), daemon=True) for job in jobs
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    tracker = ModelMetricsTracker(str(tmp_path))
    assert tracker.bad_lines() == []
    for name in ("a", "b", "both"):
        rows = tracker.rows(name)
        assert [row.metrics["mae"] for row in rows] == [day / 1000 for day in range(60)]
        assert all(row.get(f"only_{name}") == 1.0 for row in rows)
    assert len((tmp_path / HISTORY_NAME).read_text().splitlines()) == 181


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
tracker = ModelMetricsTracker(sys.argv[1])
start = datetime(2026, 1, 1, tzinfo=UTC)
turn = 0
while True:
    day = start + timedelta(days=turn % 50)
    tracker.log_metrics("killed", {"mae": 1 + turn}, window=(day, day + timedelta(days=1)))
    turn += 1
"""


def state(file: Path) -> tuple[int, int] | None:
    """What changes with every write."""
    return (file.stat().st_ino, file.stat().st_size) if file.exists() else None


def test_a_killed_writer_leaves_a_history_that_can_be_written(tmp_path: Path) -> None:
    for delay_ms in (0, 3, 7, 12, 20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        before = state(tmp_path / HISTORY_NAME)
        deadline = time.monotonic() + 60
        while state(tmp_path / HISTORY_NAME) == before:
            assert time.monotonic() < deadline, "the writer wrote nothing"
            time.sleep(0.002)
        time.sleep(delay_ms / 1000)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        tracker = ModelMetricsTracker(str(tmp_path))
        assert tracker.bad_lines() == []
        tracker.log_metrics("survivor", {"mae": float(delay_ms)}, window=window(delay_ms))
    tracker = ModelMetricsTracker(str(tmp_path))
    assert len(tracker.history("survivor")) == 5
    assert len(tracker.rows("killed")) == len({row.key for row in tracker.rows("killed")}) > 0


def test_a_crash_while_a_file_is_replaced_leaves_the_old_one(
    tracker: ModelMetricsTracker, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_days(tracker, [0.01, 0.02])
    before = file.read_bytes()

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        tracker.log_metrics(MODEL, {"mae": 9.0}, window=window(0))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".tmp"] == []


def saved(tmp_path: Path, days: int = 19) -> tuple[Path, ModelMetricsTracker]:
    """A history of so many rows."""
    tracker = ModelMetricsTracker(str(tmp_path))
    for day in range(days):
        start = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=day)
        tracker.log_metrics("m", {"mae": 1.0 + day}, window=(start, start + timedelta(days=1)))
    return tmp_path / "metrics_history.csv", tracker


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"], ids=["CR", "CR LF", "LF"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "not ended"])
def test_a_history_saved_with_other_line_ends_loses_no_row(tmp_path: Path, end: bytes, last: bool) -> None:
    path, _ = saved(tmp_path)
    text = path.read_bytes().replace(b"\n", end)
    path.write_bytes(text if last else text.removesuffix(end))
    tracker = ModelMetricsTracker(str(tmp_path))
    assert len(tracker.rows("m")) == 19
    assert tracker.bad_lines() == []
    tracker.log_metrics("m", {"mae": 50.0}, window=(WINDOW_END, WINDOW_END + timedelta(days=1)))
    assert len(ModelMetricsTracker(str(tmp_path)).rows("m")) == 20
    assert not (tmp_path / "metrics_history.removed.csv").exists()


WINDOW_END = datetime(2026, 12, 24, tzinfo=UTC)


def test_what_is_taken_out_is_kept_beside_the_history(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, 2)
    repeated = path.read_bytes().splitlines()[1]
    path.write_bytes(path.read_bytes() + repeated + b"\n\xff\xfe no row\n" + b"m,1,2026-11-03T00")
    tracker = ModelMetricsTracker(str(tmp_path))
    tracker.log_metrics("m", {"mae": 9.0, "rmse": 1.0}, window=(WINDOW_END, WINDOW_END + timedelta(days=1)))
    assert len(ModelMetricsTracker(str(tmp_path)).rows("m")) == 3
    assert b"\xff\xfe no row\n" in path.read_bytes()
    removed = (tmp_path / "metrics_history.removed.csv").read_bytes().splitlines()
    assert removed == [repeated, b"m,1,2026-11-03T00"]


@pytest.mark.parametrize(
    "time",
    [
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
    ],
)
def test_a_time_at_the_end_of_the_calendar_is_a_line_that_can_not_be_read(tmp_path: Path, time: str) -> None:
    path, _ = saved(tmp_path, 1)
    header, row = path.read_text().splitlines()
    for cell in ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"):
        path.write_text(f"{header}\n{row}\n{row.replace(cell, time, 1)}\n")
        tracker = ModelMetricsTracker(str(tmp_path))
        assert len(tracker.rows("m")) == 1
        assert [bad.number for bad in tracker.bad_lines()] == [3]
        tracker.log_metrics("m", {"mae": 1.0}, window=(WINDOW_END, WINDOW_END + timedelta(days=1)))
        assert len(tracker.rows("m")) == 2


def test_a_long_field_is_a_line_that_can_not_be_read(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, 1)
    with path.open("a") as file:
        file.write("x" * 131_073 + ",1\n")
        file.write("m,1," + "y" * 100_000 + ",2026-11-02T00:00:00Z,1,2026-11-02T00:00:00Z\n")
    tracker = ModelMetricsTracker(str(tmp_path))
    assert len(tracker.rows("m")) == 1
    assert [bad.number for bad in tracker.bad_lines()] == [3, 4]
    assert max(len(bad.reason) for bad in tracker.bad_lines()) <= 300


def test_a_header_that_is_too_long_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "metrics_history.csv").write_text("x" * 131_073 + "\n")
    with pytest.raises(HistoryError, match="line 1: field larger than"):
        ModelMetricsTracker(str(tmp_path)).rows("m")


def test_the_lock_is_for_its_user_alone(tmp_path: Path) -> None:
    lock = tmp_path / ".metrics_history.csv.lock"
    lock.touch(0o644)
    saved(tmp_path, 1)
    assert lock.stat().st_mode & 0o777 == 0o600
    remote = ModelMetricsTracker("memory://models", locks=tmp_path / "locks")
    remote.log_metrics("m", {"mae": 1.0})
    (found,) = (tmp_path / "locks").iterdir()
    assert found.stat().st_mode & 0o077 == 0
