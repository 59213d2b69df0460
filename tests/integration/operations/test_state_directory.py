"""The state directory: tsobs uses its own and empty ones, and does not touch others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.api_world import settings_of
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.cli.main import main
from tsobs_pipelines.settings import SettingsError
from tsobs_pipelines.state_directory import prepare_state
from tsobs_pipelines.timeseries.store import StoreError
from tsobs_pipelines.upkeep.integrity import check_whole

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


@pytest.mark.parametrize(
    "names", [["logs/", "tmp/", "models/"], ["logs/app.log"], ["dagster/"], ["tsobs.db/"], ["up.lock"]]
)
def test_generic_names_make_no_directory_of_tsobs(tmp_path: Path, names: list[str]) -> None:
    place = tmp_path / "home"
    place.mkdir(0o755)
    for name in names:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).mkdir() if name.endswith("/") else (place / name).write_text("mine")
    before = listing(place)
    with pytest.raises(SettingsError, match="expected a directory of tsobs's own or an empty one"):
        prepare_state(settings_of(place), TODAY)
    assert listing(place) == before


@pytest.mark.parametrize(
    "names",
    [
        ["lost+found/"],
        [".writable", ".start_date-x1y2"],
        ["tsobs.db", "tsobs.db-wal", "locks/"],
        ["logs/tsobs-2026-11-20.jsonl", "locks/"],
        ["logs/tsobs-2026-11-20.jsonl.gz"],
    ],
)
def test_what_a_command_before_the_first_start_leaves_is_taken(tmp_path: Path, names: list[str]) -> None:
    place = tmp_path / "var"
    place.mkdir()
    for name in names:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).mkdir() if name.endswith("/") else (place / name).write_text("")
    prepare_state(settings_of(place), TODAY)
    assert (place / "start_date").read_text() == "2026-10-20\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe\0",
        b"0001-01-01",
        b"1999-12-31",
        b"soon",
        b"2026-13-01",
        b"2026-11-01" * 99,
        None,
    ],
)
def test_a_kept_date_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    place = tmp_path / "var"
    prepare_state(settings_of(place), TODAY)
    file = place / "start_date"
    file.unlink()
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(
        SettingsError, match=r"/var/start_date: expected the date of the first partition"
    ) as raised:
        _ = settings_of(place).start_date
    assert str(raised.value).isprintable()
    with pytest.raises(SettingsError, match="start_date"):
        prepare_state(settings_of(place), TODAY)
    assert settings_of(place, start_date_override="2026-11-05").start_date == date(2026, 11, 5)


def test_a_kept_date_in_the_future_names_its_file(tmp_path: Path) -> None:
    place = tmp_path / "var"
    prepare_state(settings_of(place), TODAY)
    (place / "start_date").write_text("2027-01-01\n")
    with pytest.raises(SettingsError, match=r"/var/start_date: 2027-01-01: expected a date up to today"):
        prepare_state(settings_of(place), TODAY)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "directory") for name in ("logs", "tmp", "locks", "dagster")),
        ("tsobs.db", "file"),
        ("up.lock", "file"),
    ],
)
def test_what_is_of_the_wrong_kind_in_it_is_named(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / "var"
    place.mkdir()
    (place / "start_date").write_text("2026-11-01\n")
    (place / name).mkdir() if kind == "file" else (place / name).write_text("")
    with pytest.raises(SettingsError, match=f"expected {name} in it to be a {kind}"):
        prepare_state(settings_of(place), TODAY)


def test_a_database_that_is_a_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is damaged \\(not a regular file\\)"):
        check_whole([tmp_path])


def command(place: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments], env={"TSOBS_STATE_DIR": str(place)})


@pytest.mark.parametrize(
    "arguments", [["logs"], ["doctor"], ["up"], ["alerts"], ["settings"], ["backup", "x"]]
)
@pytest.mark.parametrize("kind", ["file", "dangling", "loop"])
def test_a_state_that_is_no_directory_is_one_line(tmp_path: Path, kind: str, arguments: list[str]) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    done = command(tmp_path / kind, *arguments)
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1), done.output
    assert done.output.startswith("tsobs: TSOBS_STATE_DIR=")


@pytest.mark.parametrize("name", ["file/var", "x" * 300])
def test_a_state_that_can_not_be_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    for arguments in (["logs"], ["up"]):
        done = command(tmp_path / name, *arguments)
        assert (done.exit_code, len(done.output.splitlines())) == (2, 1), done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)


def test_logs_that_are_no_directory_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("mine")
    done = command(tmp_path, "logs")
    assert (done.exit_code, "Not a directory" in done.output) == (2, True), done.output


@pytest.mark.parametrize("name", ["nowhere/x.db", "nowhere/deep/x.db", "file/x.db"])
def test_no_directory_is_made_for_a_database_elsewhere(tmp_path: Path, name: str) -> None:
    settings = settings_of(tmp_path / "var", database_url_override=f"sqlite:///{tmp_path / name}")
    (tmp_path / "file").write_text("mine")  # before, the setting itself would be refused
    with pytest.raises(StoreError, match="no directory for it"):
        create_app(settings)
    with pytest.raises(
        SettingsError, match=r"TSOBS_DATABASE_URL=.*expected a file in a directory that exists"
    ):
        prepare_state(settings, TODAY)
    assert not (tmp_path / "nowhere").exists()


def test_the_directory_of_the_state_is_made_for_its_database(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "deep" / "var")
    create_app(settings)
    assert (tmp_path / "deep" / "var").stat().st_mode & 0o777 == 0o700


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
