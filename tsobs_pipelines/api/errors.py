"""Error responses: one line, and never a traceback or a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

logger = logging.getLogger(__name__)

SHOWN = 60
"""Characters of a bad value that are repeated to its sender."""


class Problem(BaseModel):
    """An error response."""

    detail: str = Field(description="one line for a person, naming the value and what was expected")


class NotFoundError(LookupError):
    """Nothing has the name that was asked for; the text says which name."""


class UnavailableError(RuntimeError):
    """A part that the answer needs is down; the text says which, and why, and holds no secret."""


Responses = dict[int | str, dict[str, Any]]
"""FastAPI's own type of documented responses."""


def documented(*statuses: int) -> Responses:
    """OpenAPI entries for the problems a route can answer with."""
    texts = {
        400: "The Host header names another site",
        403: "The request has no Tailscale user, or came through Funnel",
        404: "No such node or model",
        422: "A parameter is out of its range",
        503: "A part that the answer needs is down; the text says which",
    }
    return {status: {"model": Problem, "description": texts[status]} for status in (400, 403, *statuses)}


def shown(value: object) -> str:
    """A value as it may be repeated: printable, on one line, cut."""
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def problem(status: int, detail: str) -> JSONResponse:
    """The answer for a problem; never kept by a cache."""
    headers = {"Cache-Control": "no-store"}
    if status == 503:
        headers["Retry-After"] = "5"
    return JSONResponse(Problem(detail=detail).model_dump(), status, headers)


def install(app: FastAPI, redact: Callable[[str], str]) -> None:
    """Turn exceptions into problems; ``redact`` sees every text that came from another part."""

    @app.exception_handler(NotFoundError)
    async def not_found(_request: Request, error: NotFoundError) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(UnavailableError)
    async def unavailable(request: Request, error: UnavailableError) -> JSONResponse:
        detail = redact(str(error))
        logger.warning("%s unavailable: %s", request.url.path, detail)
        return problem(503, detail)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, "; ".join(_lines(error.errors())))

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def _lines(errors: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"{error['loc'][-1] if error['loc'] else 'request'}={_bare(error.get('input'))}: {error['msg']}"
        for error in errors[:5]
    ]


def _bare(value: object) -> str:
    """A query's value without the quotes of Python, which its sender did not write."""
    text = shown(value)
    return text.removeprefix(text[0]).removesuffix(text[0]) if text[:1] in {"'", '"'} else text
