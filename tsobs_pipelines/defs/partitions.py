"""The partitions. A UTC day for what the tailnet gives; delivery days belong to ``forecast.py``."""

from __future__ import annotations

from datetime import date

import dagster as dg


def utc_days(start: date) -> dg.DailyPartitionsDefinition:
    """UTC days from ``start`` to today: today's partition exists from midnight on, and is updated all day."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)
