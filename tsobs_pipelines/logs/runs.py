"""The log handler for Dagster's runs and steps, configured in ``dagster.yaml``."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from tsobs_pipelines.logs.files import DayFileHandler

TOLD_EVENTS = frozenset(
    {
        *("PIPELINE_START", "PIPELINE_SUCCESS", "PIPELINE_CANCELED", "STEP_SUCCESS"),
        *("ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION"),
    }
)
"""Dagster's names of the events that are filed as INFO; it gives DEBUG to all that are no failure."""


class RunLogHandler(DayFileHandler):
    """Files what a run logs from ``threshold`` on, and the events of its course as INFO."""

    def __init__(self, directory: str | Path | None = None, threshold: int | str = logging.INFO) -> None:
        super().__init__(directory, logging.DEBUG)
        self._threshold = logging.Handler(threshold).level

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, unless it is below the threshold."""
        event = record.__dict__.get("dagster_event")
        if record.levelno < logging.INFO and getattr(event, "event_type_value", None) in TOLD_EVENTS:
            # A copy: the handlers after this one get the record as Dagster made it.
            record = copy.copy(record)
            record.levelno, record.levelname = logging.INFO, "INFO"
        if record.levelno >= self._threshold:
            super().emit(record)
