"""Checks of alert delivery: links that a phone can follow, refused messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import inspect

from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.tables import messages
from tsobs_pipelines.alerting.text import followed
from tsobs_pipelines.database import engine_for, reading
from tsobs_pipelines.doctor.findings import Finding
from tsobs_pipelines.settings import Settings


def check_links(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Whether links in messages can be followed; asked only where messages leave this machine."""
    _ = now
    if settings.telegram_bot_token is None:
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
    """Whether the newest message that was tried was refused; creates no outbox where there is none."""
    _ = now
    if settings.database_file is not None and not settings.database_file.exists():
        return []
    engine = engine_for(settings.database_url)
    with reading(engine) as connection:
        if not inspect(connection).has_table(messages.name):
            return []
    refused = outbox.why_refused(engine)
    if refused is None:
        return [Finding("outbox", "ok", "the newest message was not refused")]
    remedy = "mend what the reason names, then: tsobs alerts test"
    return [Finding("outbox", "failed", f"the newest message was refused: {refused}", remedy)]
