"""Cost of a log call: tsobs' formatter and day files, compared with python-json-logger and a plain file."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from bench.harness import machine, table
from tsobs_pipelines.logs.files import DayFileHandler
from tsobs_pipelines.logs.formatter import JSONFormatter
from tsobs_pipelines.logs.redact import Redactor

CALLS = 20_000
ROUNDS = 7
SECRETS = ("a-telegram-token-of-some-length", "an-influx-token-of-some-length==", "password")
NAMES = "%(asctime)s %(levelname)s %(name)s %(message)s %(module)s %(funcName)s %(lineno)d"


def logger_with(name: str, handler: logging.Handler) -> logging.Logger:
    """A logger of its own with one handler."""
    logger = logging.getLogger(f"bench.{name}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return logger


def microseconds(logger: logging.Logger) -> float:
    """One call, on average over a round."""
    begun = time.perf_counter()
    for number in range(CALLS):
        logger.info("collected %d rounds of %s", number, "git", extra={"run_id": "3f0c1a52", "rows": number})
    return (time.perf_counter() - begun) / CALLS * 1e6


def main() -> None:
    """Print the table; the candidates take turns, so that a busy moment hits both."""
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        alone = logging.FileHandler(Path(name) / "alone.jsonl")
        alone.setFormatter(JsonFormatter(NAMES))
        ours = DayFileHandler(Path(name) / "logs")
        ours.setFormatter(JSONFormatter(redactor=Redactor(SECRETS)))
        plain = logging.FileHandler(Path(name) / "ours.jsonl")
        plain.setFormatter(JSONFormatter(redactor=Redactor(SECRETS)))
        loggers = {
            "python-json-logger alone, FileHandler": logger_with("alone", alone),
            "tsobs: redaction, one file a day, all processes": logger_with("ours", ours),
            "tsobs' formatter with FileHandler": logger_with("plain", plain),
        }
        found: dict[str, list[float]] = {text: [] for text in loggers}
        for _ in range(ROUNDS):
            for text, logger in loggers.items():
                found[text].append(microseconds(logger))
    base = statistics.median(found["python-json-logger alone, FileHandler"])
    rows = [
        (text, f"{statistics.median(times):.1f}", f"{statistics.median(times) / base:.2f}")
        for text, times in found.items()
    ]
    print(table(["log call", "median µs", "of python-json-logger"], rows))


if __name__ == "__main__":
    main()
