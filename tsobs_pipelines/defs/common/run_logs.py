"""Where the log output of runs goes."""

import logging
import os
from collections.abc import Mapping

import dagster as dg

from tsobs_pipelines.logs.setup import INTAKE_ENVIRONMENT


def _quiet(_init: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("dagster")  # noqa: LOG001 - one of its own, below no other
    logger.addHandler(logging.NullHandler())
    return logger


quiet_logger = dg.LoggerDefinition(
    _quiet, description="Prints nothing: the supervisor would log each line a second time."
)


def run_loggers() -> Mapping[str, dg.LoggerDefinition]:
    """Dagster's console in a terminal; nothing under a supervisor that files what its parts print."""
    filed = any(name in os.environ for name in INTAKE_ENVIRONMENT)
    return {"console": quiet_logger if filed else dg.colored_console_logger}
