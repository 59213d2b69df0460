"""The contributor's guide is correct: packages in its layout, files and names in its recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "tsobs_pipelines"
GUIDE = (ROOT / "CLAUDE.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^\*\*(.+?)\.\*\* (.*?)(?=\n\n)", GUIDE, re.MULTILINE | re.DOTALL))


def paths(text: str) -> list[str]:
    """What stands in backticks and looks like a file or a folder."""
    return [name for name in re.findall(r"`([^`\s]+)`", text) if re.search(r"(/|\.(py|md|toml|js))$", name)]


def exists(name: str) -> bool:
    return (ROOT / name).exists() or (PACKAGE / name).exists() or (PACKAGE / "api" / name).exists()


def test_there_is_a_recipe_for_each_thing_that_people_add() -> None:
    things = {"An alert rule", "A price source", "A store", "A metric of a node", "A route", "An asset"}
    assert RECIPES.keys() == things


@pytest.mark.parametrize("name", sorted(set(paths(GUIDE))))
def test_what_the_guide_names_is_there(name: str) -> None:
    assert exists(name)


def test_the_layout_names_every_package() -> None:
    named = {Path(name).name for name in paths(GUIDE[: GUIDE.index("## Rules")])}
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages <= named


@pytest.mark.parametrize(("name", "file"), re.findall(r"`(\w+)`[^`()]* \(`([\w/]+\.py)`", GUIDE))
def test_what_a_recipe_says_is_in_a_file_is_in_it(name: str, file: str) -> None:
    place = PACKAGE / file if (PACKAGE / file).exists() else ROOT / file
    assert re.search(rf"\b{name}\b", place.read_text("utf-8"))


@pytest.mark.parametrize("title", sorted(RECIPES.keys() - {"An asset"}))
def test_a_recipe_needs_at_most_three_files_of_code(title: str) -> None:
    code = {name for name in paths(RECIPES[title]) if name.endswith(".py") and not name.startswith("tests/")}
    # What is only read for the interface, and is not touched.
    read = {
        "An alert rule": {"alerting/rule.py", "alerting/evidence.py"},
        "A price source": {"forecasting/prices/source.py", "forecasting/prices/hours.py"},
        "A store": {"timeseries/store.py"},
        "A route": {"api/dependencies.py", "api/views.py"},
    }
    new_module = title != "A metric of a node"
    assert len(code - read.get(title, set())) + new_module <= 3
