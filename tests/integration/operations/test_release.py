"""`make release` in a clone: what it refuses, and what a release consists of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
VERSION = "98.7.6"


def done(command: Sequence[str | Path], place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def release(place: Path, version: str = VERSION) -> subprocess.CompletedProcess[str]:
    programs = Path(sys.executable).parent
    # -o: what is installed is that of the checkout under test, and stays.
    installed = ".venv/.installed-dev"
    return done(["make", "-o", installed, "release", f"VERSION={version}", f"BIN={programs}"], place)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    place = tmp_path / "clone"
    assert done(["git", "clone", "--quiet", ROOT, place], ROOT).returncode == 0
    for name, value in (("user.name", "a"), ("user.email", "a@example.org")):
        assert done(["git", "config", name, value], place).returncode == 0
    return place


def test_a_release_is_a_tag_a_wheel_and_an_sbom(clone: Path, tmp_path: Path) -> None:
    refused = release(clone)
    assert refused.returncode != 0
    assert f"CHANGELOG.md has no section '## [{VERSION}] - <date>'" in refused.stderr
    changes = clone / "CHANGELOG.md"
    section = f"## [Unreleased]\n\n## [{VERSION}] - 2026-12-01"
    changes.write_text(changes.read_text("utf-8").replace("## [Unreleased]", section), "utf-8")
    assert "commit first" in release(clone).stderr
    assert done(["git", "commit", "--quiet", "--all", "--message", "Changes"], clone).returncode == 0

    made = release(clone)
    assert made.returncode == 0, made.stderr
    assert done(["git", "describe", "--exact-match"], clone).stdout.strip() == f"v{VERSION}"
    assert done(["git", "status", "--porcelain"], clone).stdout == ""
    assert {path.name for path in (clone / "dist").iterdir()} == {
        f"tsobs-{VERSION}-py3-none-any.whl",
        f"tsobs-{VERSION}.cdx.json",
    }
    bill = json.loads((clone / "dist" / f"tsobs-{VERSION}.cdx.json").read_text("utf-8"))
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (
        "tsobs",
        VERSION,
    )
    assert f"v{VERSION} exists" in release(clone).stderr

    installed = tmp_path / "installed"
    wheel = clone / "dist" / f"tsobs-{VERSION}-py3-none-any.whl"
    unpacked = done([sys.executable, "-m", "zipfile", "-e", wheel, installed], tmp_path)
    assert unpacked.returncode == 0, unpacked.stderr
    # From the wheel's own files, in a folder that is no checkout.
    program = ["env", f"PYTHONPATH={installed}", sys.executable, "-m", "tsobs_pipelines"]
    shown = done([*program, "up", "--help"], tmp_path)
    assert "Start Dagster and the API" in shown.stdout, shown.stderr
    assert f" {VERSION}, Dagster " in done([*program, "--version"], tmp_path).stdout


def test_a_version_is_three_numbers(clone: Path) -> None:
    refused = release(clone, "1.2")
    assert refused.returncode != 0
    assert "VERSION=1.2: expected 1.2.3" in refused.stderr
