"""The import graph has no cycle and no hidden import, and import-linter's contracts cover every package."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = "tsobs_pipelines"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]

OF_DAGSTER = {"defs", "definitions", "processes", "dagster_patches", "dagster_storage", "webserver"}
"""What may import Dagster."""

OF_DAGSTERS_PRIVATE_PARTS = {
    "dagster_patches",
    "dagster_storage",
    "defs/common/dagster_names.py",
    "processes/code_server.py",
    "processes/daemon.py",
    "webserver/serve.py",
}
"""Where an upgrade of Dagster may break something that it does not promise to keep."""

OF_HTTP = {"api", "serving", "webserver"}
"""What may import an HTTP server's libraries."""

LATE = {
    "cli/main.py",
    "cli/run.py",
    "processes/fork_server.py",
    "processes/forking.py",
    "processes/service.py",
}
"""Where parts of tsobs are imported inside functions, so that a process loads only what it runs."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE)


def imports(graph: grimp.ImportGraph, depth: int) -> Mapping[str, Set[str]]:
    """What each module, or the package it lies in so many levels below the top, imports."""

    def cut(module: str) -> str:
        return ".".join(module.split(".")[: depth + 1])

    found: dict[str, set[str]] = {}
    for module in graph.modules:
        mine = found.setdefault(cut(module), set())
        mine |= {cut(other) for other in graph.find_modules_directly_imported_by(module)} - {cut(module)}
    return found


@pytest.mark.parametrize("depth", [1, 2, 9], ids=["packages", "packages within packages", "modules"])
def test_nothing_imports_itself_in_a_circle(graph: grimp.ImportGraph, depth: int) -> None:
    try:
        TopologicalSorter(imports(graph, depth)).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' → '.join(reversed(error.args[1]))}")


def packages() -> set[str]:
    """Everything directly in the package, but for its entry point."""
    names = {path.stem if path.suffix == ".py" else path.name for path in (ROOT / PACKAGE).iterdir()}
    return {name for name in names if not name.startswith("__") and name != "py"} - {"py.typed"}


def sources(contract: str) -> set[str]:
    """The packages that a contract is about."""
    (found,) = [one["source_modules"] for one in CONTRACTS if one["name"] == contract]
    return {module.removeprefix(f"{PACKAGE}.") for module in found}


def test_the_layers_name_every_package() -> None:
    (layers,) = [one["layers"] for one in CONTRACTS if one["type"] == "layers"]
    named = {name for layer in layers for name in layer.replace("|", ":").replace(" ", "").split(":")}
    assert named == packages()


@pytest.mark.parametrize(
    ("contract", "free"),
    [
        ("Only what runs Dagster imports it", OF_DAGSTER),
        ("Only what serves HTTP imports its libraries", OF_HTTP),
    ],
)
def test_a_contract_about_libraries_names_every_other_package(contract: str, free: set[str]) -> None:
    assert sources(contract) == packages() - free


def test_parts_are_imported_inside_functions_only_where_a_process_begins() -> None:
    late = set()
    for path in (ROOT / PACKAGE).rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        functions = [
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        inner = [node for function in functions for node in ast.walk(function)]
        modules = [node.module or "" for node in inner if isinstance(node, ast.ImportFrom)]
        if any(module.startswith(PACKAGE) for module in modules):
            late.add(str(path.relative_to(ROOT / PACKAGE)))
    assert late == LATE


def test_private_parts_of_dagster_are_imported_in_few_places() -> None:
    pattern = re.compile(r"^\s*(?:from|import) dagster\w*(?:\.\w+)*\._", re.MULTILINE)
    paths = [path for path in (ROOT / PACKAGE).rglob("*.py") if pattern.search(path.read_text("utf-8"))]
    found = {path.relative_to(ROOT / PACKAGE) for path in paths}
    names = {path.parts[0] if path.parts[0].startswith("dagster_") else path.as_posix() for path in found}
    assert names == OF_DAGSTERS_PRIVATE_PARTS


def test_no_two_public_classes_share_a_name() -> None:
    seen: dict[str, list[str]] = {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    shared = {name: places for name, places in seen.items() if len(places) > 1}
    # The API's models of what the sidecar's client returns.
    assert shared.keys() == {"ConnectionStats", "PingStats"}, shared


def test_no_module_is_named_like_the_package_beside_it() -> None:
    names = {path.name for path in (ROOT / PACKAGE).iterdir() if path.is_dir()}
    beside = {path.stem for path in (ROOT / PACKAGE).glob("*.py")}
    assert not {name for name in beside if name.rstrip("s") in {one.rstrip("s") for one in names}}


def test_benchmarks_and_campaigns_import_of_the_tests_their_support_alone() -> None:
    pattern = re.compile(r"^\s*(?:from|import) (tests\.(?!support\b)[\w.]+)", re.MULTILINE)
    folders = ("bench", "campaigns", "tests/support")
    found = {
        str(path.relative_to(ROOT)): names
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if (names := pattern.findall(path.read_text("utf-8")))
    }
    assert found == {}
