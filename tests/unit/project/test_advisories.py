"""The audit of the lock finds affected packages, and reports advisories that it can't read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support import advisories
from tests.support.advisories import AuditError, audit, locked, main, read_database

LOCK = Path(__file__).parents[3] / "requirements.lock"

RANGES = """
id: PYSEC-2026-1
modified: "2026-11-01T10:00:00Z"
affected:
- package: {name: Some_Package, ecosystem: PyPI}
  ranges:
  - type: GIT
    events: [{introduced: "0"}, {fixed: 1f0c}]
  - type: ECOSYSTEM
    events: [{introduced: "2.0"}, {fixed: "2.10"}, {introduced: "0"}, {last_affected: "1.4"}]
aliases: [CVE-2026-1]
"""
LISTED = """
id: PYSEC-2026-2
modified: 2026-11-02T10:00:00Z
affected:
- package: {name: some-package, ecosystem: PyPI}
  versions: ["3.0.0"]
- package: {name: some-package, ecosystem: npm}
  versions: ["3.1"]
"""
WITHDRAWN = LISTED.replace("PYSEC-2026-2", "PYSEC-2026-3") + 'withdrawn: "2026-11-03T10:00:00Z"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "vulns" / "some-package"
    folder.mkdir(parents=True)
    for number, text in enumerate((RANGES, LISTED, WITHDRAWN)):
        (folder / f"{number}.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("0.1", ["PYSEC-2026-1"]),
        ("1.4", ["PYSEC-2026-1"]),
        ("1.4.1", []),
        ("2.0rc1", []),
        ("2.9", ["PYSEC-2026-1"]),
        ("2.10", []),
        ("3", ["PYSEC-2026-2"]),
        ("3.1", []),
    ],
)
def test_versions_in_ranges_and_in_lists_are_found(checkout: Path, version: str, found: list[str]) -> None:
    packages = [(canonicalize_name("some.package"), Version(version)), (canonicalize_name("x"), Version("1"))]
    hits = audit(packages, list(read_database(checkout)))
    assert [hit.advisory for hit in hits] == found


def test_a_hit_fails_until_it_is_explained(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(
        "# made\nsome-package==2.9 ; python_version < '4' \\\n    --hash=sha256:00\n    # via x\n"
    )
    assert main(str(checkout), str(lock)) == 1
    said = capsys.readouterr().out
    assert "some-package 2.9: PYSEC-2026-1, CVE-2026-1; fixed in 2.10; NOT EXPLAINED\n" in said
    assert "1 packages of" in said
    assert "the newest of 2026-11-02" in said
    monkeypatch.setattr(advisories, "EXPLAINED", {"PYSEC-2026-1": "the part that ails is not used"})
    assert main(str(checkout), str(lock)) == 0


def test_an_advisory_that_cannot_be_read_fails_the_audit(checkout: Path, tmp_path: Path) -> None:
    (checkout / "vulns" / "some-package" / "9.yaml").write_text("id: PYSEC-2026-9\naffected: 3\n")
    with pytest.raises(AuditError, match=r"9\.yaml"):
        list(read_database(checkout))
    assert main(str(checkout), str(LOCK)) == 2
    assert main(str(tmp_path / "nowhere"), str(LOCK)) == 2


def test_the_whole_lock_is_read() -> None:
    pins = re.findall(r"^(\S+)==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE)
    assert locked(LOCK) == [(canonicalize_name(name), Version(version)) for name, version in pins]
