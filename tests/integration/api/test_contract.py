"""The API against its own OpenAPI document, and against hostile names and numbers."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import given, settings
from schemathesis.core.result import Ok

from tests.support.api_world import Api

HOSTILE = (
    '") |> yield()',
    "git' OR '1'='1",
    "../../etc/passwd",
    "..",
    "x" * 10_000,
    "git\x00",
    "\x00",
    "git\n",
    "\u202egit",
    "гит",
    "git\uff1b",
    "😀",
    "%",
    "git%00",
    "{{7*7}}",
    "$(id)",
    "<script>alert(1)</script>",
    " ",
)
ROUTES = ("/health-monitoring/connection-stats/{}", "/health-monitoring/latency-history/{}")


@pytest.mark.long
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_a_documented_one(api: Api, mode: schemathesis.GenerationMode) -> None:
    """No 5xx, no undocumented status, media type or body, for parameters that keep the document and not."""
    document = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == 12
    for operation in operations:
        ranged = "{" not in operation.path and "422" in operation.definition.raw["responses"]
        if mode is schemathesis.GenerationMode.NEGATIVE and not ranged:
            continue  # any text may be a name

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=40, deadline=None, derandomize=True, database=None)
        def answered(case: schemathesis.Case) -> None:  # type: ignore[type-arg]
            arguments = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
            answer = api.get(path_of(arguments), method=str(arguments["method"]))
            documented = case.operation.definition.raw["responses"]
            assert answer.status_code < 500, (path_of(arguments), answer.text)
            assert str(answer.status_code) in documented, (path_of(arguments), answer.status_code)
            case.validate_response(answer)

        answered()


def path_of(arguments: dict[str, object]) -> str:
    """Path and query of a generated request."""
    prepared = requests.Request(
        "GET",
        str(arguments["url"]),
        params=arguments.get("params"),  # type: ignore[arg-type]
    ).prepare()
    return prepared.path_url


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", HOSTILE, ids=[ascii(name)[:20] for name in HOSTILE])
def test_a_hostile_name_is_nobody(api: Api, route: str, name: str) -> None:
    answer = api.get(route.format(quote(name, safe="")))
    assert answer.status_code in {404, 422}
    assert len(answer.content) < 1000
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("number", ["-1", "1e9", "0", "NaN", "99999999999999999999", "", "0x10", "1;2"])
@pytest.mark.parametrize(
    "path",
    [
        "/health-monitoring/latency-history/git?hours={}",
        "/logs/search?hours={}",
        "/logs/search?limit={}",
        "/models/metrics-history?limit={}",
        "/models/forecast?day={}",
        "/alerts?hours={}",
        "/alerts?limit={}",
    ],
)
def test_a_bad_number_is_refused(api: Api, path: str, number: str) -> None:
    assert api.get(path.format(quote(number))).status_code == 422


@pytest.mark.parametrize("name", HOSTILE, ids=[ascii(name)[:20] for name in HOSTILE])
def test_hostile_texts_find_nothing_and_break_nothing(api: Api, name: str) -> None:
    for path in (
        "/logs/search?q={}",
        "/logs/search?logger={}",
        "/models/metrics-history?model_name={}",
        "/models/forecast?model_name={}",
    ):
        assert api.get(path.format(quote(name))).status_code in {200, 404, 422}
