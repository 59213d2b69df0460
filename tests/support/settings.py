"""Settings of a test that are refused."""

from __future__ import annotations

import pytest

from tsobs_pipelines.settings import SettingsError, load_settings


def refusal() -> str:
    """Why the settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)
