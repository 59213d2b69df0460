"""Fixtures that several of these files use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sidecar_process import FAKE_TAILSCALE, FakeTailscale, Sidecar, fake_tailnet, running


@pytest.fixture
def tailscale(tmp_path: Path) -> FakeTailscale:
    """A fake CLI that replays a healthy tailnet."""
    return fake_tailnet(tmp_path / "fake")


@pytest.fixture
def new_sidecar(tmp_path: Path, tailscale: FakeTailscale) -> Sidecar:
    """A sidecar over the fake CLI that was not started yet; its rounds are an hour apart."""
    settings = {
        "TAILSCALE_BIN": str(FAKE_TAILSCALE),
        "FAKE_TAILSCALE": str(tailscale.place),
        "SAMPLE_INTERVAL": "3600",
        "SIDECAR_CLI_SECONDS": "2",
        "SIDECAR_REQUEST_SECONDS": "2",
    }
    return Sidecar(tmp_path, settings)


@pytest.fixture
def sidecar(new_sidecar: Sidecar) -> Iterator[Sidecar]:
    """A sidecar over the fake CLI, which answers."""
    with running(new_sidecar):
        yield new_sidecar
