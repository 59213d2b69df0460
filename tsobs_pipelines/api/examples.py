"""Examples in the OpenAPI document: for each route a request, and its answer, from ``examples.json``."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import FastAPI

EXAMPLES: dict[str, object] = json.loads(
    files("tsobs_pipelines.api").joinpath("examples.json").read_text("utf-8")
)
"""Path and query of each request, with the body that answers it."""


def install(app: FastAPI) -> None:
    """Put the examples into what the application says of itself at ``/openapi.json``."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        for request, answer in EXAMPLES.items():
            _add(document["paths"], request, answer)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend it


def _add(paths: dict[str, dict[str, Any]], request: str, answer: object) -> None:
    """Add one example to its route: a value for each parameter, and the answer."""
    url = urlsplit(request)
    for path, item in paths.items():
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path), url.path)
        if found is None:
            continue
        values = found.groupdict() | dict(parse_qsl(url.query))
        for parameter in item["get"].get("parameters", ()):
            if (value := values.get(parameter["name"])) is not None:
                number = parameter["schema"].get("type") == "integer"
                parameter["example"] = int(value) if number else value
        item["get"]["responses"]["200"]["content"]["application/json"]["example"] = answer
