"""Reads Dagster's migrations once per process.

Each opening of one of Dagster's SQLite files has alembic read and compile all of Dagster's migrations, to
learn the newest one's number; each run has a file of its own, and each evaluation of a sensor opens the
instance anew. Migrations can't change under a running process.
"""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory


def apply() -> None:
    """Let every ``ScriptDirectory.from_config`` of the same folder be the same object."""
    read = ScriptDirectory.from_config
    known: dict[tuple[str | None, str | None], ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        key = (config.get_main_option("script_location"), str(config.config_file_name))
        if key not in known:
            known[key] = read(config)
        return known[key]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]
