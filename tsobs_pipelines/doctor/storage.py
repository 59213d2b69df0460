"""Checks of databases: tsobs' own, Dagster's, and the integrity of their files."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from tsobs_pipelines.database import DatabaseError, engine_for, reading
from tsobs_pipelines.doctor.findings import Finding, clock_finding
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.settings import Settings

_BACK = "docs/OPERATIONS.md, Backups"


def check_database(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Time series (unless InfluxDB has them), alert state and outbox."""
    _ = now
    path = settings.database_file
    if path is not None:
        return [_sqlite("database", path, f"stop tsobs, put a backup in its place ({_BACK})")]
    return _postgres("database", settings.database_url, "alert_messages", "TSOBS_DATABASE_URL")


def check_dagster(settings: Settings, now: datetime) -> Sequence[Finding]:
    """Dagster's runs, events and schedules."""
    _ = now
    if settings.dagster_database_url is not None:
        return _postgres(
            "Dagster storage", settings.dagster_database_url, "runs", "TSOBS_DAGSTER_DATABASE_URL"
        )
    storage = settings.state_dir / "dagster" / "storage"
    if not storage.is_dir():
        return [Finding("Dagster storage", "warning", f"{storage} is not there yet", "make up makes it")]
    files = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
    remedy = (
        f"stop tsobs, put a backup in its place ({_BACK}); history that is lost there loses no time series"
    )
    return [_sqlite(f"Dagster storage, {name}", storage / name, remedy) for name in files]


def _sqlite(name: str, path: Path, remedy: str) -> Finding:
    if not path.exists():
        return Finding(name, "warning", f"{path} is not there yet", "make up makes it")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            whole = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[
                0
            ]
    except sqlite3.Error as error:
        return Finding(name, "failed", f"{path}: {error}", remedy, f"SQLite {sqlite3.sqlite_version}")
    if whole != "ok":
        return Finding(
            name, "failed", f"{path} is damaged: {whole}", remedy, f"SQLite {sqlite3.sqlite_version}"
        )
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        return Finding(
            name, "failed", f"{path} can't be written", f"chown it and its directory to user {os.getuid()}"
        )
    size = path.stat().st_size / 1e6
    return Finding(
        name,
        "ok",
        f"{path}, {size:.1f} MB, {tables} tables, whole",
        version=f"SQLite {sqlite3.sqlite_version}",
    )


def _postgres(name: str, url: SecretUrl, table: str, setting: str) -> Sequence[Finding]:
    try:
        sent = datetime.now(UTC)
        with reading(engine_for(url)) as connection:
            version, clock, readonly = connection.execute(
                text("SELECT current_setting('server_version'), clock_timestamp(), pg_is_in_recovery()")
            ).one()
            received = datetime.now(UTC)
            exists, allowed, creates = connection.execute(
                text(
                    "SELECT to_regclass(:table) IS NOT NULL,"
                    # Asked for several privileges at once, Postgres says whether one of them is held.
                    " (SELECT coalesce(bool_and(has_table_privilege(to_regclass(:table), privilege)), TRUE)"
                    " FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege),"
                    " has_schema_privilege(current_schema(), 'CREATE')"
                ),
                {"table": table},
            ).one()
    except DatabaseError as error:
        return [Finding(name, "failed", str(error), f"is it up, and is {setting} right?")]
    version = f"Postgres {version}"
    difference = (
        0.0
        if sent <= clock <= received
        else ((sent - clock) if clock < sent else (received - clock)).total_seconds()
    )
    if readonly:
        return [
            Finding(name, "failed", "the server is read-only", f"point {setting} at the primary", version)
        ]
    if not allowed or not creates:
        may_not = f"write {table}" if not allowed else "make tables"
        remedy = f"make the user of {setting} the owner of the database and of its tables"
        return [Finding(name, "failed", f"this user may not {may_not}", remedy, version)]
    detail = f"answers, {table} {'is there' if exists else 'is not there yet'}"
    return [Finding(name, "ok", detail, "", version, difference), *clock_finding(name, difference)]
