"""What a backup and its restore refuse: damaged copies, places that are in use, and paths that are none."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tsobs_pipelines.cli.main import main
from tsobs_pipelines.settings import SettingsError, known_names, load_settings
from tsobs_pipelines.state_directory import prepare_state
from tsobs_pipelines.upkeep import copying
from tsobs_pipelines.upkeep import restore as restoring

INDEX = "dagster/storage/history/runs/index.db"
RUNS = "dagster/storage/history/runs.db"
SHARD = "dagster/storage/history/runs/0a1b.db"


def make_database(path: Path, rows: int = 2000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE found (number INTEGER PRIMARY KEY, word TEXT)")
        connection.executemany("INSERT INTO found VALUES (?, ?)", [(one, "w" * 40) for one in range(rows)])
        connection.commit()


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM found").fetchone()[0])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and output of a command that must not end with an exception of another kind."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state directory with its databases, and models beside it."""
    for name in (*known_names(), "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "var"
    for name in (INDEX, RUNS, SHARD, "dagster/storage/schedules/schedules.db", "tsobs.db"):
        make_database(place / name)
    (place / "start_date").write_text("2026-11-01\n")
    (place / "logs").mkdir()
    (place / "logs" / "tsobs-2026-11-20.jsonl").write_text("{}\n")
    (tmp_path / "models" / "fitted").mkdir(parents=True)
    (tmp_path / "models" / "fitted" / "one.bin").write_bytes(b"model")
    return place


@pytest.fixture
def backup(state: Path, tmp_path: Path) -> Path:
    """A backup of it; the originals are gone."""
    assert run("backup", tmp_path / "copy")[0] == 0
    state.rename(tmp_path / "lost")
    (tmp_path / "models").rename(tmp_path / "lost_models")
    return tmp_path / "copy"


def test_a_backup_comes_back_as_it_was(backup: Path, state: Path, tmp_path: Path) -> None:
    status, said = run("restore", backup)
    assert (status, "5 databases, 8 files" in said) == (0, True), said
    assert content(state) == content(tmp_path / "lost")
    assert content(tmp_path / "models") == content(tmp_path / "lost_models")
    places = [state, tmp_path / "models", *state.rglob("*"), *(tmp_path / "models").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in places} == {0o700, 0o600}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def garble(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-4000:-3000] = b"\xff" * 1000
    path.write_bytes(whole)


def scramble(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[4096:12288] = b"\xff" * 8192
    path.write_bytes(whole)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_letter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"wwww", b"wwWw", 1))


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


DAMAGES: tuple[Callable[[Path], None], ...] = (cut, garble, empty, Path.unlink, flip_a_letter, link)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["tsobs.db", INDEX, SHARD])
def test_a_damaged_backup_is_refused_by_name(
    backup: Path, state: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(backup / "state" / name)
    status, said = run("restore", backup)
    assert (status, Path(name).name in said, len(said.splitlines())) == (1, True, 1), said
    assert not state.exists()


@pytest.mark.parametrize("damage", [cut, scramble, empty])
@pytest.mark.parametrize("name", ["tsobs.db", INDEX, SHARD])
def test_a_backup_without_manifest_is_checked_by_sqlite(
    backup: Path, state: Path, name: str, damage: Callable[[Path], None]
) -> None:
    (backup / "manifest.json").unlink()
    damage(backup / "state" / name)
    status, said = run("restore", backup)
    assert (status, Path(name).name in said) == (1, True), said
    assert not state.exists()


def test_a_backup_without_manifest_is_restored(backup: Path, state: Path, tmp_path: Path) -> None:
    (backup / "manifest.json").unlink()
    assert run("restore", backup)[0] == 0
    assert content(state) == content(tmp_path / "lost")


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 2, "files": []}',
        '{"version": 1, "files": [{}]}',
        "[" * 9999,
    ],
)
def test_a_manifest_that_is_none_is_refused(backup: Path, state: Path, manifest: str) -> None:
    (backup / "manifest.json").write_text(manifest)
    status, said = run("restore", backup)
    assert (status, "manifest.json" in said) == (1, True), said
    assert not state.exists()


@pytest.mark.parametrize("name", ["/etc/passwd", "state/../../lost/start_date", "other/x", "state"])
def test_a_manifest_names_nothing_elsewhere(backup: Path, state: Path, name: str) -> None:
    listed = json.loads((backup / "manifest.json").read_text())
    listed["files"].append({"name": name, "size": 1, "sha256": "0" * 64})
    (backup / "manifest.json").write_text(json.dumps(listed))
    assert run("restore", backup)[0] == 1
    assert not state.exists()


def test_models_are_not_overwritten(backup: Path, state: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.bin").write_bytes(b"mine")
    status, said = run("restore", backup)
    assert (status, "models: not empty; move it away first" in said) == (1, True), said
    assert not state.exists()
    assert content(tmp_path / "models") == {"mine.bin": b"mine"}


def test_a_restore_that_fails_half_way_is_not_started_on(
    backup: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Path] = []
    copy_new = copying.copy_new

    def fails_at_the_fourth(source: Path, target: Path, advance: Callable[[int], None]) -> None:
        if len(copied) == 3:
            raise OSError(28, "No space left on device", str(target))
        copied.append(target)
        copy_new(source, target, advance)

    with monkeypatch.context() as patched:
        patched.setattr(restoring, "copy_new", fails_at_the_fourth)
        status, said = run("restore", backup)
    assert (status, "No space left on device" in said) == (1, True), said
    settings = load_settings()
    with pytest.raises(SettingsError, match="a restore into it did not finish"):
        prepare_state(settings, settings.start_date)
    status, said = run("restore", backup)
    assert (status, "a restore that did not finish" in said) == (1, True), said


@pytest.mark.parametrize("setting", ["TSOBS_STATE_DIR", "TSOBS_MODELS_DIR"])
@pytest.mark.parametrize("below", ["", "state/new", "models/new"])
def test_nothing_is_restored_into_the_backup(
    backup: Path, monkeypatch: pytest.MonkeyPatch, setting: str, below: str
) -> None:
    before = content(backup)
    monkeypatch.setenv(setting, str(backup / below))
    status, said = run("restore", backup)
    assert status == 1, said
    assert content(backup) == before


def test_a_database_elsewhere_is_in_the_backup(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "else.db"
    make_database(other, 7)
    monkeypatch.setenv("TSOBS_DATABASE_URL", f"sqlite:///{other}")
    assert run("backup", tmp_path / "copy")[0] == 0
    assert count(tmp_path / "copy" / "state" / "tsobs.db") == 7
    state.rename(tmp_path / "lost")
    (tmp_path / "models").rename(tmp_path / "lost_models")
    status, said = run("restore", tmp_path / "copy")
    assert (status, "else.db: move it away first" in said, state.exists()) == (1, True, False), said
    other.rename(tmp_path / "lost.db")
    assert run("restore", tmp_path / "copy")[0] == 0
    assert (count(other), (state / "tsobs.db").exists()) == (7, False)


def test_a_database_that_is_not_there_is_said(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSOBS_DATABASE_URL", f"sqlite:///{tmp_path}/else.db")
    status, said = run("backup", tmp_path / "copy")
    assert (status, "not in it: " in said, "else.db, which is not there yet" in said) == (0, True, True)
    assert not (tmp_path / "copy" / "state" / "tsobs.db").exists()


def test_only_regular_models_are_copied_and_the_rest_is_named(state: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "linked.bin").symlink_to(models / "fitted" / "one.bin")
    (models / "dangling").symlink_to("nowhere")
    (models / "loop").symlink_to("loop")
    (models / "folder").symlink_to(models / "fitted")
    (models / "in itself").symlink_to(models)
    os.mkfifo(models / "fitted" / "pipe")
    status, said = run("backup", tmp_path / "copy")
    assert status == 0, said
    assert content(tmp_path / "copy" / "models") == {"fitted/one.bin": b"model", "linked.bin": b"model"}
    left = {
        line.partition(f"{models}/")[2].partition(":")[0] for line in said.splitlines() if str(models) in line
    }
    assert left == {"dangling", "loop", "folder", "in itself", "fitted/pipe"}
    assert state.is_dir()


@pytest.mark.parametrize(
    "name", ["x" * 300, "a\0b", "loop/copy", "loop", "start_date", "file/copy", "nowhere/link"]
)
def test_a_path_that_is_none_is_one_line(state: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for command in ("backup", "restore"):
        if (command, name) in {("backup", "start_date"), ("backup", "nowhere/link")}:
            continue
        status, said = run(command, tmp_path / name)
        assert (status, len(said.splitlines())) == (1, 1), said
        assert "None" not in said
        assert said.strip().isprintable()
    assert state.is_dir()


@pytest.mark.parametrize("setting", ["TSOBS_STATE_DIR", "TSOBS_MODELS_DIR"])
@pytest.mark.parametrize("kind", ["file", "loop", "below a file", "long", "dangling"])
def test_a_target_that_can_not_be_is_one_line(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, kind: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = {"below a file": "file/x", "long": "x" * 300}
    monkeypatch.setenv(setting, str(tmp_path / names.get(kind, kind)))
    status, said = run("restore", backup)
    assert (status in {1, 2}, len(said.splitlines())) == (True, 1), said
    assert "None" not in said
    assert (tmp_path / "file").read_text() == "mine"
