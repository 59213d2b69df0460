"""Dagster's home below the state directory: where its files are, and what makes a process part of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import Settings, SettingsError
from tsobs_pipelines.temporary import temporary_directory


@dataclass(frozen=True, slots=True)
class Home:
    """Where Dagster's files are, below the state directory."""

    root: Path

    @property
    def socket(self) -> Path:
        """The code server's Unix socket."""
        return self.root / "code.sock"

    @property
    def fork_socket(self) -> Path:
        """The fork server's Unix socket."""
        return self.root / "fork.sock"

    @property
    def storage(self) -> Path:
        """Dagster's SQLite files."""
        return self.root / "storage"

    @property
    def pristine(self) -> Path:
        """Dagster's SQLite files as they are when nothing is written yet: making them takes 0.5 s of CPU."""
        return self.root / "pristine"

    @property
    def workspace(self) -> Path:
        """The workspace file of webserver and daemon."""
        return self.root / "workspace.yaml"


def dagster_home(settings: Settings) -> Home:
    """The home for these settings.

    Raises:
        SettingsError: the path of the state directory is none.
    """
    try:
        return Home((settings.state_dir / "dagster").resolve())
    except (OSError, RuntimeError):  # links that lead to one another, or a name that is too long
        raise SettingsError(
            f"TSOBS_STATE_DIR={shown_value(str(settings.state_dir), 300)}: not a path that can be used"
        ) from None


def dagster_environment(settings: Settings) -> dict[str, str]:
    """What a process needs in its environment to be part of this instance."""
    environment = {
        "DAGSTER_HOME": str(dagster_home(settings).root),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(temporary_directory(settings.state_dir).resolve()),
        # Else a backfill fails for good when the daemon looks while the code server is being started again.
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
    }
    if settings.dagster_database_url is not None:
        environment["TSOBS_DAGSTER_DATABASE_URL"] = settings.dagster_database_url.get_secret_value()
    return environment


def log_options(settings: Settings) -> dict[str, str]:
    """How Dagster's commands are told what to log."""
    form = "json" if settings.log_format_json else "colored"
    return {"--log-level": settings.log_level.lower(), "--log-format": form}
