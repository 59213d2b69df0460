"""Middleware for every request: checks the ``Host``, identifies the user, and writes the access log.

Plain ASGI: nothing is buffered, and a context variable set here is seen by the route.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tsobs_pipelines.api.errors import UnavailableError, problem, shown
from tsobs_pipelines.api.metrics import Metrics
from tsobs_pipelines.api.users import StrangerError, Users
from tsobs_pipelines.logs.bounded import BoundedFilter
from tsobs_pipelines.logs.context import log_context
from tsobs_pipelines.serving.abandoned import while_connected
from tsobs_pipelines.serving.requests import HostNames, RefusedError, refuse_foreign

logger = logging.getLogger(__name__)
access = logging.getLogger("tsobs_pipelines.api.access")


def bound_logs() -> None:
    """Limit what the API logs about requests that it refuses or can't answer; call it once per process."""
    access.addFilter(BoundedFilter(lambda record: getattr(record, "status", 0) >= 400))
    for name in ("tsobs_pipelines.api.errors", "tsobs_pipelines.api.users", "uvicorn.error"):
        logging.getLogger(name).addFilter(BoundedFilter())


PAGE_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": PAGE_CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

OPEN_PATHS: Final = frozenset({"/healthz"})
"""What supervisors ask without being anyone; it names parts of the system and nothing of the tailnet."""

QUIET_PATHS: Final = frozenset({"/healthz", "/metrics"})
"""Asked every few seconds by machines: not in the log unless it is at DEBUG, or they fail."""


class Gate:
    """Passes a request on to ``app``, or rejects it; writes one access record for each."""

    def __init__(self, app: ASGIApp, hosts: HostNames, users: Users, metrics: Metrics) -> None:
        self._app = app
        self._hosts = hosts
        self._users = users
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection; everything but HTTP passes as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 499  # what is left when the client goes away before an answer
        started = False

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        user: str | None = None
        try:
            user = await self._checked_user(scope)
            scope.setdefault("state", {})["user"] = user
            with log_context(user=user):
                await while_connected(self._app, scope, receive, answer)
        except RefusedError as refusal:
            await problem(refusal.status, refusal.detail)(scope, receive, answer)
        except Exception as error:
            with log_context(user=user):
                logger.exception("%s failed: %s", scope["path"], type(error).__name__)
            if started:
                raise  # the answer is already on its way: all that is left is to cut it off
            await problem(500, "internal error; the log of the API has the details")(scope, receive, answer)
        finally:
            self._record(scope, user, status, time.perf_counter() - began)

    async def _checked_user(self, scope: Scope) -> str | None:
        host = self._hosts.check(scope, "TSOBS_PUBLIC_URL")
        refuse_foreign(scope, host)
        client = scope.get("client")
        try:
            return await self._users.login_of(client[0] if client else None, scope["headers"])
        except StrangerError as error:
            if scope["path"] in OPEN_PATHS and b"tailscale-funnel-request" not in dict(scope["headers"]):
                return None
            raise RefusedError(403, str(error)) from error
        except UnavailableError as error:
            if scope["path"] in OPEN_PATHS:
                return None
            raise RefusedError(503, str(error)) from error

    def _record(self, scope: Scope, user: str | None, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.count(scope["method"] if route != "none" else "other", route, status, seconds)
        path = scope["path"]
        level = logging.DEBUG if path in QUIET_PATHS and status < 500 else logging.INFO
        client = scope.get("client")
        with log_context(user=user):
            access.log(
                level,
                "%s %s %d",
                scope["method"],
                shown(path)[1:-1],
                status,
                extra={
                    "method": scope["method"],
                    "path": path[:200],
                    "query": scope["query_string"][:200].decode("latin-1"),
                    "status": status,
                    "duration_ms": round(seconds * 1000, 1),
                    "client": client[0] if client else None,
                    "agent": Headers(scope=scope).get("user-agent", "")[:120],
                },
            )
