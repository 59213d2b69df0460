"""Patches of Dagster; README.md gives the reason and the gain of each."""

from __future__ import annotations

from tsobs_pipelines.dagster_patches import code_server, interrupts, queue, retries, workspace

PATCHES = (workspace, queue, retries, interrupts, code_server)
"""Modules with an ``apply()``, which changes Dagster in this process and in its forks."""


def apply_all() -> None:
    """Apply every patch."""
    for patch in PATCHES:
        patch.apply()
