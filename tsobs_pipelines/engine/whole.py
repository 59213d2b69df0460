"""Refuses to start on damaged SQLite files, before anything could begin afresh beside them.

What belongs here: the refusal. What does not: how a file is looked at (``doctor/storage.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime

from tsobs_pipelines.doctor.storage import look_at_dagster, look_at_database
from tsobs_pipelines.settings import Settings, SettingsError


def check_whole(settings: Settings) -> None:
    """Look at the SQLite files of this state directory; a server that is away is no reason not to start.

    Raises:
        SettingsError: one is damaged or can't be written; the text names it and the way back.
    """
    now = datetime.now(UTC)
    looks = [look_at_dagster] if settings.dagster_database_url is None else []
    looks += [look_at_database] if settings.database_url.startswith("sqlite") else []
    for look in looks:
        for finding in look(settings, now):
            if finding.level == "failed":
                raise SettingsError(f"{finding.name}: {finding.detail}: {finding.remedy}")
