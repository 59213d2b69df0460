"""The state directory: tsobs uses its own and empty ones, and does not touch others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.support.api_world import settings_of
from tsobs_pipelines.dagster_storage.home import prepare_state
from tsobs_pipelines.settings import SettingsError

TODAY = date(2026, 11, 20)


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def listing(place: Path) -> list[tuple[str, int]]:
    return sorted((path.name, path.stat().st_mode) for path in (place, *place.rglob("*")))


def test_a_new_and_an_empty_directory_are_made_private(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(0o755)
    for name in ("new", "empty"):
        prepare_state(settings_of(tmp_path / name), TODAY)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
        assert (tmp_path / name / "start_date").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["letters", "broker2", "models of mine", ".bashrc"])
def test_a_directory_of_others_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    place = tmp_path / "home"
    place.mkdir(0o755)
    (place / "logs").mkdir(0o755)
    (place / "letter").write_text("dear")
    (place / name).write_text("mine")
    before = listing(place)
    with pytest.raises(SettingsError, match=r"TSOBS_STATE_DIR='.*home': expected a directory of tsobs's own"):
        prepare_state(settings_of(place), TODAY)
    assert listing(place) == before


def test_its_own_directory_is_taken_again(tmp_path: Path) -> None:
    place = tmp_path / "var"
    prepare_state(settings_of(place), TODAY)
    (place / "notes.txt").write_text("of a person")
    place.chmod(0o755)
    prepare_state(settings_of(place), TODAY)
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_first_partition_in_the_future_ends_the_start(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "var", start_date_override="9999-12-31")
    with pytest.raises(SettingsError, match="TSOBS_START_DATE=9999-12-31: expected a date up to today"):
        prepare_state(settings, TODAY)
    assert not (tmp_path / "var").exists()
