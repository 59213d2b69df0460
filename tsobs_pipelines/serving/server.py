"""Runs an ASGI application as a process: uvicorn with our limits, on the configured address."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from tsobs_pipelines.logs.setup import uvicorn_log_config
from tsobs_pipelines.serving.connections import BoundedConnection
from tsobs_pipelines.serving.listening import listening_socket

KEEP_ALIVE_S = 20
GOODBYE_S = 5


def serve(app: ASGIApp, host: str, port: int, max_body_bytes: int = BoundedConnection.max_body_bytes) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Headers of a proxy never change who a request is from.

    Raises:
        OSError: it can't listen there.
    """
    protocol = type("Connection", (BoundedConnection,), {"max_body_bytes": max_body_bytes})
    config = uvicorn.Config(
        app,
        http=protocol,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=uvicorn_log_config(),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GOODBYE_S,
        ws_max_size=max_body_bytes,
        ws_per_message_deflate=False,
    )
    with listening_socket(host, port) as listener:
        uvicorn.Server(config).run(sockets=[listener])
