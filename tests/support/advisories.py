"""Which packages of a lock have a known vulnerability, by a checkout of PyPA's advisory database.

``make audit ADVISORIES=<checkout>``, for where PyPI's vulnerability service can't be asked. The database is
https://github.com/pypa/advisory-database; how its files are read is
https://ossf.github.io/osv-schema/#evaluation. It knows what its newest advisory knows: look at the date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name, canonicalize_version
from packaging.version import Version

EXPLAINED: Mapping[str, str] = {}
"""Advisories, by id, that do not touch tsobs, and why."""


class AuditError(RuntimeError):
    """The audit can't be done; the text is one line."""


class Event(msgspec.Struct):
    """A version from which on, or up to which, something holds; one of the three is given."""

    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None


class Range(msgspec.Struct):
    """Versions between events, when ``type`` is ECOSYSTEM; else commits."""

    type: str
    events: list[Event] = []


class Package(msgspec.Struct):
    """Whose versions are meant."""

    name: str
    ecosystem: str


class Affected(msgspec.Struct):
    """Versions of a package: those that are listed, and those in the ranges."""

    package: Package
    ranges: list[Range] = []
    versions: list[str] = []


class Advisory(msgspec.Struct):
    """One file of the database; what is not needed here is not read."""

    id: str
    modified: datetime
    affected: list[Affected]
    aliases: list[str] = []
    withdrawn: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A locked version that an advisory is about; ``fixed`` are the versions that mend it, if any do."""

    package: str
    version: Version
    advisory: str
    aliases: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        remedy = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no release mends it"
        names = ", ".join((self.advisory, *self.aliases))
        return f"{self.package} {self.version}: {names}; {remedy}"


def locked(lock: Path) -> list[tuple[NormalizedName, Version]]:
    """Every package of the lock with its version; one that depends on the Python has several."""
    lines = [line.rstrip(" \\") for line in lock.read_text("utf-8").splitlines()]
    found = []
    for line in lines:
        if not line or line.startswith((" ", "#")):
            continue
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        found.append((canonicalize_name(requirement.name), Version(pin.version)))
    return found


def read_database(checkout: Path) -> Iterator[Advisory]:
    """Every advisory of the database.

    Raises:
        AuditError: there is none, or one can't be read: then the audit would not be whole.
    """
    paths = sorted((checkout / "vulns").glob("*/*.yaml"))
    if not paths:
        raise AuditError(f"{checkout}: expected a checkout of PyPA's advisory database, with vulns/ in it")
    for path in paths:
        try:
            # Not strictly: some files have their times as text.
            yield msgspec.yaml.decode(path.read_bytes(), type=Advisory, strict=False)
        except msgspec.MsgspecError as error:
            raise AuditError(f"{path}: {error}") from None


def audit(packages: Sequence[tuple[NormalizedName, Version]], database: Sequence[Advisory]) -> list[Hit]:
    """What of the packages is known to be vulnerable, in the order of the packages."""
    about: dict[NormalizedName, list[tuple[Advisory, Affected]]] = {}
    for advisory in database:
        if advisory.withdrawn is not None:
            continue
        for affected in advisory.affected:
            if affected.package.ecosystem == "PyPI":
                about.setdefault(canonicalize_name(affected.package.name), []).append((advisory, affected))
    return [
        Hit(name, version, advisory.id, tuple(advisory.aliases), _fixes(affected, version))
        for name, version in packages
        for advisory, affected in about.get(name, [])
        if is_affected(affected, version)
    ]


def is_affected(affected: Affected, version: Version) -> bool:
    """Whether the version is listed, or in one of the ranges."""
    listed = {canonicalize_version(each) for each in affected.versions}
    return canonicalize_version(version) in listed or any(
        _in_range(each, version) for each in affected.ranges if each.type == "ECOSYSTEM"
    )


def _in_range(between: Range, version: Version) -> bool:
    inside = False
    for event in sorted(between.events, key=_moment):
        if event.introduced is not None and version >= Version(event.introduced):
            inside = True
        if event.fixed is not None and version >= Version(event.fixed):
            inside = False
        if event.last_affected is not None and version > Version(event.last_affected):
            inside = False
    return inside


def _moment(event: Event) -> Version:
    return Version(event.introduced or event.fixed or event.last_affected or "0")


def _fixes(affected: Affected, version: Version) -> tuple[str, ...]:
    events = [event for each in affected.ranges if each.type == "ECOSYSTEM" for event in each.events]
    return tuple(event.fixed for event in events if event.fixed and Version(event.fixed) > version)


def main(checkout: str, lock: str) -> int:
    """Print what was found; 1 if it is not explained."""
    try:
        database = list(read_database(Path(checkout)))
    except AuditError as error:
        sys.stderr.write(f"audit: {error}\n")
        return 2
    packages = locked(Path(lock))
    hits = audit(packages, database)
    for hit in hits:
        print(f"{hit}; {EXPLAINED.get(hit.advisory, 'NOT EXPLAINED')}")  # noqa: T201 - its output
    newest = max(advisory.modified for advisory in database)
    wrong = sum(hit.advisory not in EXPLAINED for hit in hits)
    print(  # noqa: T201 - its output
        f"{len(packages)} packages of {lock}, {len(database)} advisories, the newest of {newest:%Y-%m-%d}: "
        f"{len(hits)} known vulnerabilities, {wrong} not explained"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
