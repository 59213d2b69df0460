"""Addresses of databases: those at which a database can be."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.settings import refusal
from tsobs_pipelines.settings import (
    load_settings,
)

DATABASES = ("TSOBS_DATABASE_URL", "TSOBS_DAGSTER_DATABASE_URL")


NO_POSTGRES = (
    *("postgresql://u:p@h:0/x", "postgresql://u:p@h:99999/x", "postgresql://u:p@h:-1/x"),
    *(
        "postgresql://h/x?port=99999",
        "postgresql://h/x?host=h1:1&host=h2:99999",
        "postgresql://h/x?host=a..b",
    ),
    *(
        "postgresql://u:p@h\r\n/x",
        "postgresql://u:p@h/x\r\n",
        "postgresql://h/x%00y",
        "postgresql://u:%00@h/x",
    ),
    *("postgresql://u:p@h/x?foo=bar", "postgresql://h/x?sslmode=sometimes", "postgresql://h/x%0Ay"),
    *("postgresql://a..b/x", f"postgresql://{'a' * 64}/x", "postgresql://h/x ", "postgresql://h h/x"),
    *(f"postgresql://h/{'x' * 5000}", "postgres:/h/x", "postgresql://münchen/x"),
    *("postgresql://h/x?connect_timeout=soon", "postgresql://h/x?keepalives=yes"),
)


NO_SQLITE = (
    *(
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp",
        "sqlite://h/x",
        "sqlite:///",
        "sqlite:///x?foo=bar",
    ),
    *(
        "sqlite:///.",
        "sqlite:///x%00y",
        f"sqlite:///{'d/' * 2500}x",
        f"sqlite:///{'d' * 300}",
        "sqlite:///~/x",
    ),
    *(
        "sqlite:////dev/null",
        "sqlite:////dev/null/x",
        "sqlite:///file:x",
        "sqlite+aiosqlite:///x",
        "sqlite:///x\n",
    ),
)


@pytest.mark.parametrize("value", [*NO_POSTGRES, *NO_SQLITE])
@pytest.mark.parametrize("name", DATABASES)
def test_an_address_at_which_no_database_can_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(name)
    assert "expected sqlite:///<path> or postgresql://" in text
    assert text.isprintable()
    assert len(text) < 500


@pytest.mark.parametrize(
    "value",
    [
        *(
            "postgresql://u:p%40@db.example:5432/x?sslmode=require",
            "postgresql://u:p w@my_db/x",
            "postgresql:///x",
        ),
        *(
            "postgresql:///x?host=/run/postgresql",
            "postgresql://u@[::1]:5432/x?connect_timeout=5&application_name=a",
        ),
        *(
            "postgresql://u@/x?host=h1:5432&host=h2:5433",
            "postgresql://h",
            "sqlite:///x.db",
            "sqlite:///a/b/x.db",
        ),
    ],
)
def test_an_address_at_which_a_database_may_be_is_accepted(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TSOBS_DATABASE_URL", value)
    assert load_settings().database_url.get_secret_value().endswith(value.partition("://")[2])


@pytest.mark.parametrize("name", ["var", "a%41", "a?b", "a%", "ü b", "a#b"])
def test_the_database_is_in_the_state_directory_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / name))
    settings = load_settings()
    assert make_url(settings.database_url.get_secret_value()).database == str(tmp_path / name / "tsobs.db")
    assert settings.database_file == tmp_path / name / "tsobs.db"
