"""The five levels, and how the levels of other programs map to them."""

from __future__ import annotations

RANKS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
"""The levels of the log files, with the numbers that the standard library gives them."""

NAMES = tuple(RANKS)

_OTHER_NAMES = {
    "TRACE": "DEBUG",
    "VERBOSE": "DEBUG",
    "INFORMATION": "INFO",
    "INFORMATIONAL": "INFO",
    "NOTICE": "INFO",
    "WARN": "WARNING",
    "ERR": "ERROR",
    "EXCEPTION": "ERROR",
    "ALERT": "CRITICAL",
    "CRIT": "CRITICAL",
    "EMERG": "CRITICAL",
    "EMERGENCY": "CRITICAL",
    "FATAL": "CRITICAL",
    "DPANIC": "CRITICAL",
    "PANIC": "CRITICAL",
}


def name_of_number(number: int) -> str:
    """The level of a record whose number may be one of its own: the highest that is not above it."""
    return next((name for name in reversed(NAMES) if number >= RANKS[name]), "DEBUG")


def name_of_text(text: object) -> str | None:
    """The level that another program means by ``text``; None when that is not a level.

    A number is none: 30 is a warning to Python and information to Bunyan.
    """
    name = text.strip().upper() if isinstance(text, str) else ""
    return name if name in RANKS else _OTHER_NAMES.get(name)


def from_level(name: str) -> tuple[str, ...]:
    """``name`` and the levels above it, lowest first.

    Raises:
        ValueError: no such level.
    """
    if name.upper() not in RANKS:
        raise ValueError(f"level={name!r}: expected one of {', '.join(NAMES)}")
    return NAMES[NAMES.index(name.upper()) :]
