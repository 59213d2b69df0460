"""The API as a process: uvicorn on the address of the settings."""

from __future__ import annotations

import logging
import sys

from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.api.middleware import bound_logs
from tsobs_pipelines.api.users import users_required
from tsobs_pipelines.serving.server import serve
from tsobs_pipelines.settings import Settings

logger = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long a thread that computes a month's history may keep the interpreter from the event loop (5 ms by
default, several times a request): what is polled must not wait for what is being renewed."""


def run(settings: Settings) -> None:
    """Serve until told to stop (SIGINT, SIGTERM); logging is set up before by who calls.

    Headers of a proxy never change who a request is from: the address of the socket counts.

    Raises:
        SettingsError, StoreError: the API can't start with these settings.
    """
    app = create_app(settings)
    bound_logs()
    sys.setswitchinterval(SWITCH_S)
    logger.info(
        "API on %s, Tailscale users %s",
        settings.public_url,
        "required" if users_required(settings) else "not required",
    )
    serve(app, settings.api_host, settings.api_port)
