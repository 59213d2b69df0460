"""Fixtures for all tests: isolation from the environment."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

_ENDINGS = (signal.SIGINT, signal.SIGTERM)


def pytest_configure() -> None:
    """Take signals as in a terminal: a shell that starts a job in the background has it ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Dagster leaves SIGTERM with the handler of SIGINT; ignored signals stay so in every child process."""
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
