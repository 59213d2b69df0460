"""Is this container's part well? ``python healthcheck.py code|webserver|daemon|api``; exit status 1 if not.

Only the standard library, so that asking twice a minute costs next to nothing.
"""

import json
import os
import socket
import sys
import urllib.request
from pathlib import Path

TIMEOUT_S = 4
DAEMONS = b'{"query": "{instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}"}'


def code() -> bool:
    """Whether the code server takes connections."""
    state = Path(os.environ.get("TSOBS_STATE_DIR", "var"))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str((state / "dagster" / "code.sock").resolve()))
    return True


def webserver() -> bool:
    """Whether the webserver answers."""
    return _get(f"http://127.0.0.1:{os.environ.get('TSOBS_DAGSTER_PORT', '3000')}/server_info") is not None


def daemon() -> bool:
    """Whether every daemon that is needed has a fresh heartbeat, as the webserver sees it."""
    url = os.environ.get("WEBSERVER_URL", "http://webserver:3000") + "/graphql"
    # The webserver answers to its own names only, and a service's name is none of them.
    headers = {"Content-Type": "application/json", "Host": "localhost"}
    answer = _get(urllib.request.Request(url, DAEMONS, headers))  # noqa: S310 - http
    statuses = answer["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]  # type: ignore[index]
    return all(status["healthy"] for status in statuses if status["required"])


def api() -> bool:
    """Whether the API answers; whether its own parts are well is /healthz's to tell."""
    return _get(f"http://127.0.0.1:{os.environ.get('TSOBS_API_PORT', '8000')}/about") is not None


def _get(request: "str | urllib.request.Request") -> "dict[str, object]":
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http of our own
        found: dict[str, object] = json.load(answer)
        return found


CHECKS = {check.__name__: check for check in (code, webserver, daemon, api)}

if __name__ == "__main__":
    try:
        sys.exit(0 if CHECKS[sys.argv[1]]() else 1)
    except (OSError, ValueError, LookupError, TypeError):
        sys.exit(1)
