"""No setting of the tester reaches these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsobs_pipelines.settings import known_names


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
