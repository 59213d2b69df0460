"""The clock of assets and sensors: read here, passed on as ``now``.

A test sets the clock by replacing ``utc_now`` in the modules that import it.
"""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)
