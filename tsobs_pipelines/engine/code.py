"""Dagster's code server, with one saving: ``python -m tsobs_pipelines.engine.code``.

What belongs here: what Dagster's own command line lacks. What does not: the definitions that it serves.

Each evaluation of a sensor opens Dagster's instance anew, and each opening of a SQLite file has alembic read
and compile all of Dagster's migrations, to learn the newest one's number. They can't change under a running
process, so here they are read once. This was half of the CPU of the code server at rest.
"""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._cli import main


def read_migrations_once() -> None:
    """Let every ``ScriptDirectory.from_config`` of the same folder be the same object."""
    read = ScriptDirectory.from_config
    known: dict[tuple[str | None, str | None], ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        key = (config.get_main_option("script_location"), str(config.config_file_name))
        if key not in known:
            known[key] = read(config)
        return known[key]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]


if __name__ == "__main__":
    read_migrations_once()
    main()  # type: ignore[no-untyped-call]
