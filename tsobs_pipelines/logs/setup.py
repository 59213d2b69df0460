"""Configures the logging of a process.

Every process appends JSON to the day files, which the search reads. ``LOG_FORMAT_JSON`` decides about what
people and older parsers read: standard error, and with ``false`` also a plain-text file of the day.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tsobs_pipelines.logs.files import DayFileHandler, log_directory
from tsobs_pipelines.logs.formatter import JSONFormatter, TextFormatter
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.settings import load_settings

TEXT_SUFFIX = ".log"

INTAKE_ENVIRONMENT: Mapping[str, str] = MappingProxyType({"_TSOBS_LOG_INTAKE": "1"})
"""Given by a supervisor to parts whose output it files: they then print no record a second time."""

_NOISY = ("alembic", "httpx", "httpcore", "urllib3", "cmdstanpy", "prophet", "asyncio", "matplotlib")
_MARK = "_tsobs_set_up"


def setup_logging(json_format: bool | None = None, directory: Path | None = None) -> None:  # noqa: FBT001
    """Configure the logging of this process; calling it again replaces the previous configuration.

    Args:
        json_format: JSON on standard error, or plain text there and in the day's ``.log`` file; by default
            what ``LOG_FORMAT_JSON`` says.
        directory: where the day files are; by default ``logs`` in the state directory.

    Raises:
        SettingsError: a setting can't be used.
    """
    settings = load_settings()
    redactor = Redactor.of(settings)
    folder = log_directory(settings.state_dir) if directory is None else directory
    as_json = settings.log_format_json if json_format is None else json_format
    printed = JSONFormatter(redactor=redactor) if as_json else TextFormatter(redactor=redactor)

    filed = DayFileHandler(folder)
    filed.setFormatter(JSONFormatter(redactor=redactor))
    handlers: list[logging.Handler] = [filed]
    if not as_json:
        text = DayFileHandler(folder, suffix=TEXT_SUFFIX)
        text.setFormatter(printed)
        handlers.append(text)
    if not any(name in os.environ for name in INTAKE_ENVIRONMENT):
        console = logging.StreamHandler(sys.stderr)
        console.setFormatter(printed)
        handlers.append(console)

    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if hasattr(handler, _MARK)]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        setattr(handler, _MARK, True)
        root.addHandler(handler)
    root.setLevel(settings.log_level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


def uvicorn_log_config() -> dict[str, object]:
    """``log_config`` for ``uvicorn.run``: its loggers go the way of all others.

    Its own access lines are off: the API writes one record for each request, with user, method, path, status
    and duration.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {
            "uvicorn": {"handlers": [], "level": "INFO", "propagate": True},
            "uvicorn.error": {"handlers": [], "propagate": True},
            "uvicorn.access": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }
