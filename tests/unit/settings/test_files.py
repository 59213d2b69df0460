"""Settings from files: ``.env``, the directory of secrets, and the file of tailnets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.settings import refusal
from tsobs_pipelines.settings import (
    SettingsError,
    load_settings,
    unknown_names,
)


def test_files_that_are_no_text_end_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes("TSOBS_STATE_DIR=m\xfcll".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env: expected UTF-8"):
        load_settings()
    with pytest.raises(SettingsError, match=r"\.env: expected UTF-8"):
        unknown_names()
    dotenv.unlink()
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(secrets))
    token = secrets / "TELEGRAM_BOT_TOKEN"
    token.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN is not UTF-8"):
        load_settings()
    token.write_bytes(b"x" * 100_000)
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN has more than"):
        load_settings()
    token.unlink()
    os.mkfifo(token)
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN is not a file"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# ours\n\nTSOBS_API_PORT 9999\n", "line 3 (TSOBS_API_PORT): expected NAME=value"),
        ("A=1\nexport TELEGRAM_BOT_TOKEN 123:canary\n", "line 2 (TELEGRAM_BOT_TOKEN): expected"),
        ("A=1\nTSOBS_STATE_DIR='canary\nB=2\n", "line 2 (TSOBS_STATE_DIR): expected NAME=value"),
        ("TSOBS_LOG_LEVEL\n", "line 1 (TSOBS_LOG_LEVEL): expected NAME=value"),
        ("A=1\n canary canary\n", "line 2: expected NAME=value"),
        ("\n" * 2**20 + "A=1\n", "can't be read (more than 1048576 bytes)"),
    ],
)
def test_a_line_of_the_file_that_can_not_be_understood_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / ".env").write_text(content)
    for directory in (None, str(tmp_path)):
        if directory:
            monkeypatch.setenv("TSOBS_SECRETS_DIR", directory)
        text = refusal()
        assert text.startswith(f".env: {said}")
        assert "canary" not in text


def test_what_is_no_file_ends_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.mkdir()
    assert refusal() == ".env: can't be read (not a regular file)"
    dotenv.rmdir()
    os.mkfifo(dotenv)
    assert refusal() == ".env: can't be read (not a regular file)"
    dotenv.unlink()
    dotenv.write_bytes("TSOBS_STATE_DIR=m\xfcll".encode("latin-1"))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(secrets))
    assert refusal() == ".env: expected UTF-8, and byte 17 is not"
    dotenv.unlink()
    dotenv.symlink_to(os.devnull)  # how a container takes it away
    assert load_settings().api_port == 8000


def test_other_programs_may_have_their_lines_in_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(
        b"\xef\xbb\xbfTSOBS_API_PORT=9000 # here\r\nCOMPOSE_PROJECT_NAME\r\nPLACE=/srv\r\n"
        b'export TSOBS_STATE_DIR="${PLACE}/x"\r\ntsobs_dagster_port=9001\r\n'
    )
    settings = load_settings()
    assert (settings.api_port, settings.dagster_port) == (9000, 9001)
    assert settings.state_dir == Path("/srv/x")


def test_a_misspelt_file_of_a_secret_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    ours = {
        "TSOBS_ESIOS_TOKN": "TSOBS_ESIOS_TOKEN",
        "TELEGRAM_BOT_TOKEN.txt": "TELEGRAM_BOT_TOKEN",
        "INFLUXDB_V2_TOKN": "INFLUXDB_V2_TOKEN",
    }
    for name in (
        *ours,
        "sidecar_token",
        "postgres_password",
        "influxdb_password",
        "..data",
        "telegram_bot_token",
    ):
        (secrets / name).write_text("x")
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(secrets))
    found = unknown_names()
    assert {name: found.get(name) for name in ours} == ours
    assert not {name for name in found if not name.startswith("TSOBS_")} - ours.keys()


def test_nested_toml_ends_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "tailnets.toml"
    path.write_text("x = " + "[" * 100_000)
    monkeypatch.setenv("TSOBS_TAILNETS_FILE", str(path))
    with pytest.raises(SettingsError, match=r"TSOBS_TAILNETS_FILE=.*expected"):
        load_settings()
