"""Where models are kept: what can't hold any ends the start with one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_world import settings_of
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.forecasting.model_files import check_models_dir, open_files
from tsobs_pipelines.processes.service import run_part
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def kept_at(tmp_path: Path, place: str) -> Settings:
    return settings_of(tmp_path / "var", models_dir=SecretUrl(place))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("foo://x", "Protocol not known"),
        ("FILE:///x", "Protocol not known"),
        ("github://x", "TypeError"),
        ("abc://key:CANARY@x?token=CANARYCANARY", "Protocol not known"),
    ],
)
def test_what_fsspec_can_not_open_ends_the_start(tmp_path: Path, place: str, said: str) -> None:
    settings = kept_at(tmp_path, place)
    for start in (check_models_dir, create_app, lambda settings: run_part(settings, "api")):
        with pytest.raises(SettingsError) as refused:
            start(settings)
        text = str(refused.value)
        assert text.startswith(f"TSOBS_MODELS_DIR='{place.partition('://')[0]}://")
        assert said in text
        assert "CANARY" not in text
        assert "\n" not in text


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "/dev/null/x", "/proc/1/x", "file:///etc/passwd/x", "/" + "d" * 300]
)
def test_what_can_be_no_directory_ends_the_start(tmp_path: Path, place: str) -> None:
    settings = kept_at(tmp_path, place)
    for start in (check_models_dir, lambda settings: run_part(settings, "api")):
        with pytest.raises(SettingsError, match=r"^TSOBS_MODELS_DIR=.*: expected a directory"):
            start(settings)


def test_a_directory_that_is_there_or_can_be_made_is_accepted(tmp_path: Path) -> None:
    for place in (tmp_path / "a" / "b", tmp_path / "a"):
        check_models_dir(kept_at(tmp_path, str(place)))
        assert place.is_dir()
    check_models_dir(kept_at(tmp_path, "memory://models"))
    open_files("memory://models").replace("x", b"1")
