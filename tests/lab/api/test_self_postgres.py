"""The same records read from a real Postgres, whose sessions have a different time zone."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from sqlalchemy import text

from tests.support.api_world import settings_of
from tests.support.dagster_records import check_records
from tests.support.lab.databases import Postgres
from tsobs_pipelines.api.dagster_records import DagsterRecords
from tsobs_pipelines.database import engine_for, writing


def test_the_records_that_dagster_writes(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database("records")
    engine = engine_for(url)
    with writing(engine) as connection:
        connection.execute(text("ALTER DATABASE records SET timezone TO 'Asia/Kolkata'"))
    engine.dispose()
    overrides = {"storage": {"postgres": {"postgres_url": url}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        check_records(instance, DagsterRecords(settings_of(tmp_path, dagster_database_url=url)))
