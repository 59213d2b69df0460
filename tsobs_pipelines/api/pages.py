"""Serves the files of the page and of the API documentation from this package, compressed once.

Paths are looked up among the files of the package: no path of a request reaches the file system.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from tsobs_pipelines.api.payload import Payload

STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

_REVALIDATED = "no-cache"
_FOR_GOOD = "public, max-age=31536000, immutable"
"""Of vendored files, whose names hold their version."""

# Swagger UI draws with style attributes and images in its style sheet; its scripts come from here only.
DOCS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _payload(path: Path) -> Payload:
    return Payload.of(path.read_bytes(), _TYPES[path.suffix], level=9)


def install(app: FastAPI) -> None:
    """Serve the page, its files and the documentation."""
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in _TYPES and path.is_file() and path.name != "docs.html":
            _serve(app, f"/{path.relative_to(STATIC).as_posix()}", path)
    _serve(app, "/docs", STATIC / "docs.html", {"Content-Security-Policy": DOCS_CSP})

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/vpn.html", 307)


def _serve(app: FastAPI, route: str, path: Path, headers: dict[str, str] | None = None) -> None:
    kept = _FOR_GOOD if path.parent.name == "vendor" else _REVALIDATED

    async def file(request: Request) -> Response:
        response = _payload(path).response(request, kept)
        response.headers.update(headers or {})
        return response

    app.add_api_route(route, file, methods=["GET", "HEAD"], include_in_schema=False)
