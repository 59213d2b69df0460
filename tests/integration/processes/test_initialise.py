"""Dagster's storage is made once, also after a first start that was killed while it made it."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from tsobs_pipelines.dagster_storage.configuration import write_home
from tsobs_pipelines.dagster_storage.home import Home, dagster_environment
from tsobs_pipelines.dagster_storage.initialise import initialise_instance
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.state_directory import prepare_state
from tsobs_pipelines.upkeep.integrity import dagster_files


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))
    found = load_settings()
    prepare_state(found, found.start_date)
    for name, value in dagster_environment(found).items():
        monkeypatch.setenv(name, value)
    return found


def assert_usable(home: Home) -> None:
    with dg.DagsterInstance.from_config(str(home.root)) as instance:
        assert instance.get_runs() == []
        assert instance.all_instigator_state() == []
        assert instance.event_log_storage.get_maximum_record_id() is None
    assert all(file.stat().st_size for file in dagster_files(home.pristine))


def test_files_that_a_killed_start_left_empty_are_completed(settings: Settings) -> None:
    home = write_home(settings)
    for file in (*dagster_files(home.storage), *dagster_files(home.pristine.with_suffix(".new"))):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    initialise_instance(settings)
    assert_usable(home)


def test_empty_files_for_the_rehearsal_are_made_again_when_they_are_gone(settings: Settings) -> None:
    home = write_home(settings)
    initialise_instance(settings)
    shutil.rmtree(home.pristine)
    initialise_instance(settings)
    assert_usable(home)
