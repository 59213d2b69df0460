"""The result of a check: one value for each thing checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

from tsobs_pipelines.settings import Settings

Level: TypeAlias = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; ``remedy`` is one line for the person, empty if nothing is wrong."""

    name: str
    level: Level
    detail: str
    remedy: str = ""
    version: str = ""
    clock_difference_s: float | None = None


Check: TypeAlias = Callable[[Settings, datetime], Sequence[Finding]]

CLOCK_WARNING_S = 5.0
CLOCK_FAILED_S = 60.0


def examine(
    settings: Settings, checks: Sequence[tuple[str, Check]], now: Callable[[], datetime]
) -> list[Finding]:
    """Run all checks concurrently; the findings in the order of the checks, without any secret."""
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        waiting = [pool.submit(_guarded, name, check, settings, now()) for name, check in checks]
        found = [finding for one in waiting for finding in one.result()]
    return [_without_secrets(finding, settings.secrets()) for finding in found]


def _guarded(name: str, check: Check, settings: Settings, now: datetime) -> Sequence[Finding]:
    try:
        return check(settings, now)
    except Exception as error:  # noqa: BLE001 - a check that fails is a finding, and the others go on
        text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return [
            Finding(name, "failed", text, "the text says what is wrong; tsobs settings shows what is set")
        ]


def _without_secrets(finding: Finding, secrets: Sequence[str]) -> Finding:
    detail = finding.detail
    for secret in secrets:
        detail = detail.replace(secret, "***")
    return replace(finding, detail=detail)


def clock_difference(header: str | None, sent: datetime, received: datetime) -> float | None:
    """Seconds by which this machine's clock is ahead of the server that sent this ``Date``.

    The header has whole seconds: anything the request's own duration or the rounding explains is 0.
    """
    if header is None:
        return None
    try:
        theirs = parsedate_to_datetime(header)
    except ValueError:
        return None
    least = (sent - theirs).total_seconds() - 1.0
    most = (received - theirs).total_seconds()
    return max(least, 0.0) + min(most, 0.0)


def clock_finding(name: str, difference_s: float | None) -> list[Finding]:
    """What a difference of clocks means; nothing to say where it is not known or small."""
    if difference_s is None or abs(difference_s) < CLOCK_WARNING_S:
        return []
    level: Level = "failed" if abs(difference_s) >= CLOCK_FAILED_S else "warning"
    direction = "ahead of" if difference_s > 0 else "behind"
    detail = f"this machine is {abs(difference_s):.0f} s {direction} {name}"
    return [
        Finding(f"clock, {name}", level, detail, "let NTP set both clocks (timedatectl)", "", difference_s)
    ]
