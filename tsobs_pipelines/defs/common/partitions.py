"""The partitions, and how many of them one run processes.

A UTC day for what the tailnet gives; delivery days belong to ``forecast_keys.py``.
"""

from __future__ import annotations

from datetime import date

import dagster as dg

DAYS_A_RUN = 10
"""A backfill becomes runs of so many days, which the workers of several machines share.

More would leave workers idle at its end and lose more with one of them; with fewer, the second or so that a
run costs would count."""

SHARED = dg.BackfillPolicy.multi_run(DAYS_A_RUN)
"""For assets whose days do not depend on one another."""


def utc_days(start: date) -> dg.DailyPartitionsDefinition:
    """UTC days from ``start`` to today: today's partition exists from midnight on, and is updated all day."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)
