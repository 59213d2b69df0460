"""Days to heal, as runs: no gap inside a run, no run too long, the newest days first."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.defs.common.ranges import LONGEST_SPAN
from tsobs_pipelines.defs.tailnet.healing import healing_requests
from tsobs_pipelines.timeseries.spans import spans

FIRST = date(2026, 11, 1)


def days(*numbers: int) -> list[date]:
    return [FIRST + timedelta(days=number) for number in numbers]


def test_days_in_a_row_are_one_span() -> None:
    assert spans(days(0, 1, 2, 5, 7, 8), LONGEST_SPAN) == [
        (FIRST, FIRST + timedelta(days=2)),
        (FIRST + timedelta(days=5), FIRST + timedelta(days=5)),
        (FIRST + timedelta(days=7), FIRST + timedelta(days=8)),
    ]


@given(st.sets(st.integers(0, 120)), st.sampled_from([LONGEST_SPAN, timedelta(days=100)]))
def test_spans_hold_each_day_once_and_none_is_too_long(numbers: set[int], longest: timedelta) -> None:
    asked = days(*sorted(numbers))
    found = spans(asked, longest)
    held = [first + timedelta(days=n) for first, last in found for n in range((last - first).days + 1)]
    assert held == asked
    assert all(last - first < longest for first, last in found)


def test_the_newest_ten_days_come_first() -> None:
    requests = healing_requests("heal", dict.fromkeys(days(*range(31)), "new"), "now")
    starts = [request.tags["dagster/asset_partition_range_start"] for request in requests]
    assert starts == ["2026-11-22", "2026-11-12", "2026-11-02", "2026-11-01"]
