"""The guard around Dagster's webserver, as an ASGI application.

Dagster's own answers anybody who reaches its port, takes GraphQL mutations by GET, and sends no header
against being framed. A page of any web site can make its reader's browser do all of that.
"""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import urlsplit

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tsobs_pipelines.serving.requests import SAFE_METHODS, HostNames, RefusedError, refuse_foreign
from tsobs_pipelines.settings import Settings

SECURITY_HEADERS: Final = {
    # What Dagster's page says for itself (its scripts) stays; every other answer may load nothing.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'self'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_CONTROL: Final = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029]")
_PROGRAMS: Final = (
    "/graphql",
    "/download_debug/",
    "/logs/",
    "/notebook",
    "/dagit/notebook",
    "/report_asset_",
)
"""Routes that are no pages: a link from elsewhere does not lead there."""
_REPORTS: Final = "/report_asset_"
"""Takes what programs report about assets in the query as well, without a body; none of it is GraphQL."""
_GRAPHQL_TYPES: Final = frozenset({"application/json", "application/graphql"})
"""What Dagster reads from a body; a page of another site can't send these without asking first."""
_MAX_NESTING: Final = 200


class Guard:
    """Hands a request or WebSocket to Dagster's application ``app``, or says why not."""

    def __init__(self, app: ASGIApp, hosts: HostNames, trusted: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._hosts = hosts
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                _secure(MutableHeaders(scope=message))
            await send(message)

        try:
            _check_path(scope)
            host = self._hosts.check(scope, "TSOBS_DAGSTER_URL")
            refuse_foreign(scope, host, self._trusted)
            if scope["type"] == "http":
                _check_route(scope)
        except RefusedError as refusal:
            await _refuse(scope, answer, refusal)
        else:
            await self._app(scope, receive, answer)


def guarded(app: ASGIApp, settings: Settings, host: str) -> Guard:
    """Dagster's application as it may listen on ``host``, which answers to the names of the settings."""
    public = urlsplit(settings.dagster_url)
    return Guard(app, HostNames(host, public.hostname), frozenset({f"{public.scheme}://{public.netloc}"}))


def _check_path(scope: Scope) -> None:
    """Reject control characters in the path, percent-encoded ones as well: no route has them.

    Patterns of routers end in ``$``, which also matches before a line end: to them ``/graphql%0A`` is
    ``/graphql``.
    """
    if _CONTROL.search(scope["path"]):
        raise RefusedError(400, "expected a path without control characters")


def _check_route(scope: Scope) -> None:
    """Apply GraphQL's rules to every path: which of them leads to GraphQL is the inner router's to say."""
    headers = Headers(scope=scope)
    sites = headers.getlist("sec-fetch-site")
    if not {*sites} <= {"same-origin", "none"} and _single_slashes(scope["path"]).startswith(_PROGRAMS):
        raise RefusedError(403, "requests of another site's pages are not answered")
    if scope["method"] in SAFE_METHODS:
        for name, document in QueryParams(scope["query_string"]).multi_items():
            if name == "query" and not _only_reads(document):
                raise RefusedError(405, "GraphQL by GET only reads: send mutations by POST, as JSON")
    elif scope["path"].startswith(_REPORTS):
        return
    elif headers.get("content-type", "").partition(";")[0].strip().lower() not in _GRAPHQL_TYPES:
        raise RefusedError(415, "expected GraphQL as application/json")


def _single_slashes(path: str) -> str:
    return re.sub("/+", "/", path)


def _only_reads(document: str) -> bool:
    """Whether every operation of a GraphQL document is a query; what can't be parsed is none."""
    if document.count("{") + document.count("[") + document.count("(") > _MAX_NESTING:
        return False
    try:
        definitions = parse(document).definitions
    except GraphQLError:
        return False
    operations = [found for found in definitions if isinstance(found, OperationDefinitionNode)]
    return bool(operations) and all(found.operation is OperationType.QUERY for found in operations)


def _secure(headers: MutableHeaders) -> None:
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    policy = headers["Content-Security-Policy"]
    if "frame-ancestors" not in policy:
        headers["Content-Security-Policy"] = f"{policy.rstrip().rstrip(';')}; frame-ancestors 'none'"


async def _refuse(scope: Scope, send: Send, refusal: RefusedError) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted: the server answers 403.
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.detail})
        return
    body = json.dumps({"error": refusal.detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
