"""``tsobs doctor`` with real servers: healthy ones, and each problem with its remedy in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, make_url, text

from tests.support.lab.databases import Postgres
from tests.support.lab.influx import Influx
from tests.support.ports import free_port
from tests.support.sidecar_process import FAKE_TAILSCALE, Sidecar, fake_tailnet, running
from tsobs_pipelines.alerting.tables import metadata
from tsobs_pipelines.cli.main import main
from tsobs_pipelines.settings import known_names

ADDRESS = "alert_messages"
TOKEN = "sesame-of-the-sidecar"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory, token_file: Path) -> Iterator[Sidecar]:
    """The real sidecar, which wants a token, over a fake tailscaled; it has taken a round."""
    place = tmp_path_factory.mktemp("sidecar")
    settings = {
        "TAILSCALE_BIN": str(FAKE_TAILSCALE),
        "FAKE_TAILSCALE": str(fake_tailnet(place / "fake").place),
        "SIDECAR_TOKEN_FILE": str(token_file),
        "SAMPLE_INTERVAL": "2",
        "SIDECAR_CLI_SECONDS": "2",
        "SIDECAR_REQUEST_SECONDS": "2",
    }
    with running(Sidecar(place, settings)) as made:
        made.wait_for_rounds(1)
        yield made


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    """The address of a database that has a table of the alerts."""
    url = postgres.new_database("doctor")
    engine = create_engine(url)
    metadata.create_all(engine)
    engine.dispose()
    return url


@pytest.fixture(autouse=True)
def settings(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    influx: Influx,
    database: str,
    sidecar: Sidecar,
    token_file: Path,
) -> None:
    """Everything is set, and everything is there."""
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "var").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        **influx.environment,
        "TSOBS_DATABASE_URL": database,
        "TSOBS_DAGSTER_DATABASE_URL": database,
        "TSOBS_SIDECAR_URL": sidecar.url,
        "TSOBS_SIDECAR_TOKEN_FILE": str(token_file),
        "TSOBS_CRITICAL_NODES": "git,chocolate-factory-dev",
    }.items():
        monkeypatch.setenv(name, value)


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def as_user(url: str, user: str) -> str:
    return make_url(url).set(username=user).render_as_string(hide_password=False)


def findings() -> Mapping[str, Mapping[str, str]]:
    """The findings of ``tsobs doctor --json``, by name: only problems have a remedy, of one line."""
    done = CliRunner().invoke(main, ["doctor", "--json"])
    said = json.loads(done.output)
    for found in said["findings"]:
        assert (found["remedy"] == "") is (found["level"] == "ok"), found
        assert "\n" not in found["remedy"] + found["detail"], found
    failed = [found for found in said["findings"] if found["level"] == "failed"]
    assert (done.exit_code, said["ok"]) == ((1, False) if failed else (0, True))
    assert "sesame" not in done.output
    return {found["name"]: found for found in said["findings"]}


def only_failure(name: str) -> Mapping[str, str]:
    """The finding of that name, the only failed one but for the outbox in a failed database."""
    found = findings()
    failed = [each for each, finding in found.items() if finding["level"] == "failed"]
    assert [each for each in failed if each != "outbox" or name != "database"] == [name], found
    return found[name]


def test_all_is_well() -> None:
    found = findings()
    versions = {
        "InfluxDB": "InfluxDB ",
        "database": "Postgres 1",
        "Dagster storage": "Postgres 1",
        "sidecar": "tailscaled 1.",
    }
    for name, version in versions.items():
        assert found[name]["level"] == "ok", found[name]
        assert found[name]["version"].startswith(version), found[name]
    assert not [name for name in found if name.startswith("clock")]
    assert "rounds on" in found["sidecar"]["detail"]
    printed = CliRunner().invoke(main, ["doctor"])
    assert printed.exit_code == 0, printed.output
    assert printed.output.endswith("Nothing fails.\n")


def test_a_wrong_influx_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUXDB_V2_TOKEN", "sesame-of-nobody")
    found = only_failure("InfluxDB")
    assert "401" in found["detail"]
    assert "INFLUXDB_V2_TOKEN" in found["remedy"]


def test_an_influx_token_that_may_only_read(monkeypatch: pytest.MonkeyPatch, influx: Influx) -> None:
    monkeypatch.setenv("INFLUXDB_V2_TOKEN", reading_token(influx))
    found = only_failure("InfluxDB")
    assert "can't write (403)" in found["detail"]
    assert "INFLUXDB_V2_TOKEN" in found["remedy"]


def reading_token(influx: Influx) -> str:
    """A new token that may read the lab's bucket, and nothing else."""
    headers = {"Authorization": f"Token {influx.token}"}
    with httpx.Client(base_url=f"{influx.url}/api/v2", headers=headers) as client:
        (bucket,) = client.get("/buckets", params={"name": influx.bucket}).json()["buckets"]
        resource = {"type": "buckets", "id": bucket["id"], "orgID": bucket["orgID"]}
        body = {"orgID": bucket["orgID"], "permissions": [{"action": "read", "resource": resource}]}
        return str(client.post("/authorizations", json=body).raise_for_status().json()["token"])


@pytest.mark.parametrize(
    ("name", "value"), [("TSOBS_INFLUX_BUCKET", "nowhere"), ("INFLUXDB_V2_ORG", "nobody")]
)
def test_a_missing_bucket_or_organisation(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    found = only_failure("InfluxDB")
    assert name in found["remedy"]
    assert value in found["remedy"]


def test_influx_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUXDB_V2_URL", f"http://127.0.0.1:{free_port()}")
    assert "INFLUXDB_V2_URL" in only_failure("InfluxDB")["remedy"]


@pytest.mark.parametrize(
    ("user", "grants"),
    [
        ("stranger", []),
        ("collector", [f"SELECT, INSERT, UPDATE ON {ADDRESS}", "CREATE ON SCHEMA public"]),
        ("guest", [f"ALL ON {ADDRESS}"]),
    ],
)
def test_a_postgres_user_without_rights(
    monkeypatch: pytest.MonkeyPatch, database: str, user: str, grants: list[str]
) -> None:
    execute(database, f"CREATE ROLE {user} LOGIN", *(f"GRANT {grant} TO {user}" for grant in grants))
    monkeypatch.setenv("TSOBS_DATABASE_URL", as_user(database, user))
    try:
        found = only_failure("database")
    finally:
        execute(database, f"DROP OWNED BY {user}", f"DROP ROLE {user}")
    assert "TSOBS_DATABASE_URL" in found["remedy"]
    assert "owner" in found["remedy"]


@pytest.mark.parametrize("what", ["server", "database", "user"])
def test_postgres_or_the_database_or_the_user_is_not_there(
    monkeypatch: pytest.MonkeyPatch, postgres: Postgres, database: str, what: str
) -> None:
    url = {
        "server": f"postgresql://postgres:sesame@127.0.0.1:{free_port()}/tsobs",
        "database": postgres.url_of("nowhere"),
        "user": as_user(database, "nobody"),
    }[what]
    monkeypatch.setenv("TSOBS_DAGSTER_DATABASE_URL", url)
    assert "TSOBS_DAGSTER_DATABASE_URL" in only_failure("Dagster storage")["remedy"]


def test_a_wrong_sidecar_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("sesame-of-nobody")
    monkeypatch.setenv("TSOBS_SIDECAR_TOKEN_FILE", str(tmp_path / "wrong"))
    assert "TSOBS_SIDECAR_TOKEN_FILE" in only_failure("sidecar")["remedy"]
