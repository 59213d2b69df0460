"""The parts that ``make up`` keeps running, each with the Python function that it calls.

The supervisor imports this module, so it imports next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tsobs_pipelines.dagster_storage.home import Home
    from tsobs_pipelines.settings import Settings

LOGS = "logs"
"""The part that files what the others print; it gets the reading ends of their output."""


class Part(NamedTuple):
    """One process: ``entry`` is ``module:function``, called without arguments.

    ``address`` is where it takes connections once it serves, a Unix socket's path or ``host:port``; the parts
    that ``needs`` names must serve first.
    """

    name: str
    entry: str
    address: str | None = None
    needs: tuple[str, ...] = ()


def parts(settings: Settings, home: Home) -> list[Part]:
    """Every part for these settings, in the order of their start."""
    return [
        Part(LOGS, "tsobs_pipelines.logs.collector:main"),
        Part("code", "tsobs_pipelines.processes.code_server:main", str(home.socket)),
        Part("api", "tsobs_pipelines.api.__main__:main", f"{settings.api_host}:{settings.api_port}"),
        Part(
            "webserver",
            "tsobs_pipelines.webserver.serve:main",
            f"127.0.0.1:{settings.dagster_port}",
            ("code",),
        ),
        Part("daemon", "tsobs_pipelines.processes.daemon:main", None, ("code",)),
    ]
