"""What assets report to sensors comes back as it was written, in the form that older versions wrote."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.defs.common.reports import CollectionReport, EvaluationReport
from tsobs_pipelines.timeseries.store import Window

AT = datetime(2026, 11, 24, 10, 5, tzinfo=UTC)
times = st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
windows = st.tuples(times, times).map(lambda pair: Window(min(pair), max(pair)))


def through_dagster(written: dict[str, str | float | bool]) -> dict[str, object]:
    """The metadata of an event that was made with these values."""
    event = dg.AssetMaterialization("asset", metadata=written)
    return {name: value.value for name, value in event.metadata.items()}


@given(st.sampled_from(["full", "incremental"]), st.none() | times, st.none() | times)
def test_a_collection_is_read_as_it_was_written(
    mode: str, first: datetime | None, last: datetime | None
) -> None:
    report = CollectionReport(mode, first, last)
    assert CollectionReport.read(through_dagster(report.written())) == report
    assert report.whole_day == (mode == "full")


@given(st.none() | windows, numbers, numbers, numbers, numbers, numbers, st.none() | st.booleans())
def test_an_evaluation_is_read_as_it_was_written(
    window: Window | None,
    mae: float | None,
    baseline: float | None,
    naive: float | None,
    naive_baseline: float | None,
    skill: float | None,
    degraded: bool | None,
) -> None:
    report = EvaluationReport(window, mae, baseline, naive, naive_baseline, skill, degraded)
    assert EvaluationReport.read(through_dagster(report.written())) == report


def test_the_written_form_is_that_of_every_version() -> None:
    assert CollectionReport("full", None, AT).written() == {
        "mode": "full",
        "first_round": "none",
        "last_round": "2026-11-24T10:05:00+00:00",
    }
    window = Window(AT.replace(day=23), AT)
    assert EvaluationReport(window, 0.03, degraded=True).written() == {
        "mae": 0.03,
        "window": "2026-11-23T10:05:00+00:00 to 2026-11-24T10:05:00+00:00",
        "degraded": True,
    }


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"mode": 5, "last_round": 7},
        {"last_round": "yesterday", "window": "a to b", "mae": "0.1", "degraded": "yes"},
        {"last_round": "2026-11-24T10:05:00", "window": "2026-11-24T10:05:00+00:00", "mae": True},
    ],
)
def test_what_is_not_understood_is_left_out(metadata: dict[str, object]) -> None:
    assert CollectionReport.read(metadata).last_round is None
    assert EvaluationReport.read(metadata) == EvaluationReport()
