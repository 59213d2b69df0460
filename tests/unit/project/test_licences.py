"""The licences of installed packages are compatible with Apache-2.0."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCK = Path(__file__).parents[3] / "requirements.lock"

PERMISSIVE = re.compile(
    r"\b(MIT|MIT-CMU|BSD|0BSD|Apache|Apache-2\.0|ISC|PSF|Python Software Foundation|Zlib|CC0|HPND)\b"
)
COPYLEFT = re.compile(r"GPL|Affero|SSPL|Commons Clause|BUSL|Business Source|MPL|Mozilla", re.IGNORECASE)

EXPLAINED = {
    "psycopg2-binary": "LGPL with exceptions: imported as it is, replaceable, and never changed or copied",
    "certifi": "MPL-2.0: a list of certificates, used unchanged",
    "pathspec": "MPL-2.0: used unchanged, and only to build the package",
    "tqdm": "MPL-2.0 and MIT: used unchanged",
}
"""Weak copyleft: it binds changes to those packages themselves, of which there are none."""


def locked() -> list[str]:
    return re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", LOCK.read_text("utf-8"), re.MULTILINE)


def licence_of(package: Distribution) -> str:
    classifiers = package.metadata.get_all("Classifier") or []
    named = [name for name in classifiers if name.startswith("License ::")]
    given = {name.lower(): value for name, value in package.metadata.json.items() if isinstance(value, str)}
    text = given.get("license_expression") or " / ".join(named) or given.get("license") or ""
    return text.strip()[:200]


def installed() -> dict[str, str]:
    found = {}
    for name in locked():
        try:
            found[name] = licence_of(distribution(name))
        except PackageNotFoundError:
            continue  # for another system or Python; its licence is that of every system
    return found


def test_the_lock_is_what_is_installed() -> None:
    assert len(installed()) > 0.9 * len(locked())


def test_every_licence_is_permissive_or_explained() -> None:
    wrong = {
        name: licence
        for name, licence in installed().items()
        if name not in EXPLAINED and (COPYLEFT.search(licence) or not PERMISSIVE.search(licence))
    }
    assert wrong == {}


def test_no_explanation_is_left_over() -> None:
    assert set(EXPLAINED) <= {name for name, licence in installed().items() if COPYLEFT.search(licence)}
