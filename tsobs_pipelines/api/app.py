"""The HTTP API as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from tsobs_pipelines.api import errors, examples, pages
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.metrics import Metrics
from tsobs_pipelines.api.middleware import Gate
from tsobs_pipelines.api.parts import default_parts
from tsobs_pipelines.api.payload import GZIP_FROM_BYTES
from tsobs_pipelines.api.routers import alerts, health_monitoring, logs, models, system
from tsobs_pipelines.api.routers.access import Context
from tsobs_pipelines.api.users import Users
from tsobs_pipelines.api.views import Views
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.serving.requests import HostNames
from tsobs_pipelines.settings import Settings

DESCRIPTION = """What tsobs knows about the tailnet, the forecast, its alerts and its logs.

Everything is read-only. Times are RFC 3339 in UTC, latencies ms, traffic bytes, shares 0 to 1; `null` means
unknown. An error is `{"detail": "…"}` with one line that says what was wrong.
"""


def create_app(settings: Settings, parts: Parts | None = None) -> FastAPI:
    """The application; ``parts`` replaces what the settings would open.

    Raises:
        SettingsError, StoreError: a part can't be made with these settings.
    """
    held = parts or default_parts(settings)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        if parts is None:
            held.store.close()

    app = FastAPI(
        title="tsobs",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.context = Context(held, Views(held), metrics, held.clock())
    errors.install(app, Redactor.of(settings).clean)
    for module in (health_monitoring, alerts, models, logs, system):
        app.include_router(module.router)
    examples.install(app)
    pages.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES, compresslevel=5)
    hosts = HostNames(settings.api_host, urlsplit(settings.public_url).hostname)
    app.add_middleware(Gate, hosts=hosts, users=Users(held), metrics=metrics)
    return app
