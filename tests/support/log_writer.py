"""A process that logs for tests: ``python -m tests.support.log_writer DIRECTORY NAME COUNT BEFORE``.

Each record has its number; the number is acknowledged on standard output once the record was handed over.
The clock is simulated: the first BEFORE records are of one day, the others of the next.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from tsobs_pipelines.logs.files import DayFileHandler
from tsobs_pipelines.logs.formatter import JSONFormatter
from tsobs_pipelines.logs.redact import Redactor

MIDNIGHT = 1_795_564_800.0  # 2026-11-25T00:00:00Z
RECORDS_A_SECOND = 1000
ACKNOWLEDGE_EVERY = 50


def main(directory: str, name: str, count: int, before: int) -> None:
    """Write ``count`` records around midnight."""
    handler = DayFileHandler(Path(directory))
    handler.setFormatter(JSONFormatter(redactor=Redactor()))
    logger = logging.getLogger("tests.writer")
    for number in range(count):
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, 1, "%s %d %s", (name, number, "x" * (number % 200)), None
        )
        record.created = MIDNIGHT + (number - before) / RECORDS_A_SECOND
        handler.emit(record)
        if number % ACKNOWLEDGE_EVERY == 0:
            os.write(1, b"%d\n" % number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
