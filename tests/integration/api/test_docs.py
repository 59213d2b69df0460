"""Examples in docs/API.md and the OpenAPI document: each is requested; its names and types must hold."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.support.api_world import Api, api_of, demo_sidecar, parts_of, seed, settings_of

ROOT = Path(__file__).parents[3]
EXAMPLE = re.compile(r"```sh\n(?P<command>curl .*?)\n```\n```json\n(?P<answer>.*?)\n```", re.DOTALL)
DOCUMENT = (ROOT / "docs/API.md").read_text()
EXAMPLES = [(found["command"], found["answer"]) for found in EXAMPLE.finditer(DOCUMENT)]
OPEN = frozenset({"metrics", "entries"})
"""Lists whose items may have more names than an example shows."""

COUNTS = frozenset({"states"})
"""Objects whose names are values: an example shows some."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path_factory.mktemp("api")), url)
        seed(parts)
        with api_of(parts) as made:
            yield made
        parts.store.close()


def differences(shown: object, real: object, where: str, loose: bool = False) -> Iterator[str]:
    """What the example shows and the answer has not, or the other way round; values may differ."""
    if isinstance(shown, dict) and isinstance(real, dict):
        if missing := shown.keys() - real.keys():
            yield f"{where}: not in the answer: {missing}"
        if not loose and (more := real.keys() - shown.keys()):
            yield f"{where}: not in the example: {more}"
        for key in (shown.keys() & real.keys()) - COUNTS:
            yield from differences(shown[key], real[key], f"{where}.{key}", key in OPEN)
    elif isinstance(shown, list) and isinstance(real, list):
        if shown and not real:
            yield f"{where}: empty"
        for one in real if shown else []:
            yield from differences(shown[0], one, f"{where}[]", loose)
    elif not (shown is None or real is None or kind(shown) == kind(real)):
        yield f"{where}: {shown!r} is shown, {real!r} is answered"


def kind(value: object) -> object:
    """Its JSON type."""
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def in_openapi(api: Api) -> dict[str, object]:
    """Each route's example in the OpenAPI document: the request that its parameters make, and the answer."""
    found = {}
    for path, item in api.get("/openapi.json").json()["paths"].items():
        parameters = [one for one in item["get"].get("parameters", ()) if "example" in one]
        in_path = {one["name"]: one["example"] for one in parameters if one["in"] == "path"}
        query = urlencode([(one["name"], one["example"]) for one in parameters if one["in"] == "query"])
        answer = item["get"]["responses"]["200"]["content"].get("application/json", {})
        found[path.format(**in_path) + (f"?{query}" if query else "")] = answer.get("example")
    return found


def test_every_route_has_an_example_in_the_openapi_document(api: Api) -> None:
    assert {request for request, answer in in_openapi(api).items() if answer is None} == {"/metrics"}


def test_the_page_has_the_examples_of_the_openapi_document(api: Api) -> None:
    shown = {command.partition(":8000")[2].strip("'"): json.loads(answer) for command, answer in EXAMPLES}
    assert {**shown, "/metrics": None} == in_openapi(api)


@pytest.mark.parametrize(("command", "answer"), EXAMPLES, ids=[command[-40:] for command, _ in EXAMPLES])
def test_an_example_holds(api: Api, command: str, answer: str) -> None:
    url = urlsplit(shlex.split(command)[-1])
    assert url.netloc == "127.0.0.1:8000"
    got = api.get(f"{url.path}?{url.query}" if url.query else url.path)
    assert got.status_code == 200, got.text
    assert list(differences(json.loads(answer), got.json(), url.path)) == []
