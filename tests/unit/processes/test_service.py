"""A part as a service: its error when it can't start."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from tsobs_pipelines.processes import service
from tsobs_pipelines.settings import SettingsError, load_settings


def test_a_part_that_waits_too_long_for_another_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setattr(service, "READY_TIMEOUT_S", 0.1)
    (tmp_path / "var" / "dagster").mkdir(parents=True)
    (tmp_path / "var" / "start_date").write_text("2026-11-01\n")
    with (
        FileLock(tmp_path / "var" / "dagster" / "initialise.lock"),
        pytest.raises(SettingsError, match="another part prepares it"),
    ):
        service.run_part(load_settings(), "code")
