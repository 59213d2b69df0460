"""What a channel of delivery is: it sends one message and says what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeAlias

from tsobs_pipelines.alerting.rule import Severity

TELEGRAM = "telegram"
"""The name of the Telegram channel; those of the others come from their addresses."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The channel accepted it; ``note`` says what was changed, ``message_id`` is Telegram's number."""

    message_id: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class TryLater:
    """Not accepted yet; ``after`` is how long the channel asked us to wait, if it did."""

    reason: str
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The channel may have accepted it: the request was sent, and no readable answer came back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The channel refused it, and would refuse it again; ``reason`` names the setting to check."""

    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The chat has another id now; nothing was sent."""

    chat_id: str


Outcome: TypeAlias = Sent | TryLater | Unknown | Refused | Moved


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as a channel gets it: Telegram's HTML; ``chat_id`` is where the chat has moved to."""

    html: str
    severity: Severity
    chat_id: str | None = None


class Channel(Protocol):
    """One address that gets every message."""

    @property
    def name(self) -> str:
        """Identifies the channel in the outbox and in outputs; holds no secret."""
        ...

    @property
    def chat_id(self) -> str:
        """The chat of the settings; empty where the channel has none."""
        ...

    def deliver(self, letter: Letter) -> Outcome:
        """Send it. Raises nothing, and takes less than the lease of the outbox."""
        ...
