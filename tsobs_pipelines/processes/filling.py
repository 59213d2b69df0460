"""Shows at the terminal how far the first filling of the history has come, and how long it may still take.

``tsobs up`` starts it beside the supervisor, which imports as little as it can and only prints lines. It ends
when the history is filled, or with tsobs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

import httpx

from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.terminal import counting

ASSETS: Final = ("connection_metrics", "price_forecast", "forecast_evaluation")
"""What the first filling makes; the other assets come with them."""

_EVERY_S = 2.0
_OWNER = "_TSOBS_FILLING_OF"
"""The environment variable with the id of the process that must live."""

_STATS = """query($keys: [AssetKeyInput!]) {assetNodes(assetKeys: $keys) {
  assetKey {path} partitionStats {numMaterialized numPartitions}}}"""
_NOT_DUE = 2
"""The newest partitions of an asset may not be due yet."""


def show_filling() -> None:
    """Start the display if stderr is a terminal; it ends when this process does."""
    if not sys.stderr.isatty():
        return
    # By a shell that ends at once: the supervisor, which this process becomes, waits for its own children.
    command = ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-m", "tsobs_pipelines.processes.filling"]
    subprocess.run(command, env={**os.environ, _OWNER: str(os.getpid())}, check=False)  # noqa: S603 - fixed


def read_progress(client: httpx.Client) -> tuple[int, int] | None:
    """How many partitions are filled, and of how many; ``None`` while Dagster does not answer."""
    try:
        asked = {"query": _STATS, "variables": {"keys": [{"path": [name]} for name in ASSETS]}}
        answer = client.post("/graphql", json=asked).json()
        nodes = answer["data"]["assetNodes"]
        stats = {"/".join(node["assetKey"]["path"]): node["partitionStats"] for node in nodes}
        mine = [stats[name] for name in ASSETS]
        total = sum(one["numPartitions"] - _NOT_DUE for one in mine)
        filled = sum(min(one["numMaterialized"], one["numPartitions"] - _NOT_DUE) for one in mine)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
    return filled, total


def show(url: str, owner: int) -> None:
    """Show it until nothing is lacking or the process ``owner`` has ended."""
    begun = time.monotonic()
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        while (first := read_progress(client)) is None:
            if not _lives(owner):
                return
            time.sleep(_EVERY_S)
        if first[0] >= first[1]:
            return
        with counting("days") as shown:
            task = shown.add_task("filling the history", total=first[1])
            while _lives(owner):
                found = read_progress(client)
                if found is not None:
                    shown.update(task, completed=found[0], total=found[1])
                    if found[0] >= found[1]:
                        break
                time.sleep(_EVERY_S)
            else:
                return
    sys.stderr.write(f"The history is filled ({time.monotonic() - begun:.0f} s).\n")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Show it for the process that started this."""
    show(load_settings().dagster_url, int(os.environ.pop(_OWNER)))


if __name__ == "__main__":
    main()
