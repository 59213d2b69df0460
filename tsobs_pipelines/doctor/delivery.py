"""Checks of alert delivery: links that a phone can follow, refused messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import inspect

from tsobs_pipelines.alerting.channels import channel_names
from tsobs_pipelines.alerting.depth import depth, told_refusals
from tsobs_pipelines.alerting.notify import UnusableAddressError, check_address
from tsobs_pipelines.alerting.tables import messages
from tsobs_pipelines.alerting.text import followed
from tsobs_pipelines.database import engine_for, reading
from tsobs_pipelines.doctor.findings import Finding
from tsobs_pipelines.secret_url import SecretTarget
from tsobs_pipelines.settings import Settings


def check_links(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Whether links in messages can be followed; asked only where messages leave this machine."""
    _ = now
    if not channel_names(settings):
        return []
    links = (("TSOBS_PUBLIC_URL", settings.public_url), ("TSOBS_DAGSTER_URL", settings.dagster_url))
    return [
        Finding(
            "links in alerts",
            "warning",
            f"{url} is shown as text: a phone can't follow it",
            f"set {setting} to a full name, such as the one that tailscale serve gives (https://tsobs.<tailnet>.ts.net)",
        )
        for setting, url in links
        if not followed(url)
    ]


def check_outbox(settings: Settings, now: datetime) -> Sequence[Finding]:
    """What each channel does with its newest messages; creates no outbox where there is none."""
    _ = now
    if settings.database_file is not None and not settings.database_file.exists():
        return []
    engine = engine_for(settings.database_url)
    with reading(engine) as connection:
        if not inspect(connection).has_table(messages.name):
            return []
    found = depth(engine, channel_names(settings))
    remedy = "mend what the reason names, then: tsobs alerts test"
    waiting = [
        Finding("outbox", "warning", f"{name}: {one.pending} wait, the oldest: {one.waits_for}", remedy)
        for name, one in found.channels.items()
        if one.waits_for and one.refused is None
    ]
    if found.refused:
        return [Finding("outbox", "failed", told_refusals(found.refused), remedy), *waiting]
    return waiting or [Finding("outbox", "ok", "the newest message was not refused")]


def check_notify_urls(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Whether Apprise can use each address of alerts; nothing is sent."""
    _ = now
    return [_address(position, target) for position, target in enumerate(settings.notify_urls, 1)]


def _address(position: int, target: SecretTarget) -> Finding:
    try:
        check_address(target)
    except UnusableAddressError as error:
        remedy = f"correct entry {position} of TSOBS_NOTIFY_URLS"
        return Finding(f"channel {target.name}", "failed", str(error), remedy)
    return Finding(
        f"channel {target.name}", "ok", "Apprise can read the address; to try it: tsobs alerts test"
    )
