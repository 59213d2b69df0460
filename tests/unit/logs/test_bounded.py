"""The rate limit of a logger."""

from __future__ import annotations

import logging

from tsobs_pipelines.logs.bounded import BoundedFilter


def record(level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("x", level, __file__, 1, "m", (), None)


def test_a_flood_is_counted_and_not_written() -> None:
    now = [0.0]
    bound = BoundedFilter(burst=10, per_s=2, clock=lambda: now[0])
    assert sum(bound.filter(record()) for _ in range(1000)) == 10
    assert all(bound.filter(record(logging.ERROR)) for _ in range(100))
    now[0] = 1.0
    first, second, third = record(), record(), record()
    assert [bound.filter(one) for one in (first, second, third)] == [True, True, False]
    assert first.__dict__["not_logged"] == 990
    assert "not_logged" not in second.__dict__
