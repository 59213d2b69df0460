"""Dagster's home under the state directory: its configuration, and its first initialisation.

The repository's ``dagster.yaml`` is what plain ``dagster dev`` uses; this module adds what only ``make up``
has, lasting storage, a queue of runs and the chosen launcher, so that both share every other choice.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

from tsobs_pipelines.logs.files import parse_name
from tsobs_pipelines.run_tags import BACKFILLS, QUEUE_TAG
from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import START_DATE_FILE, Settings, SettingsError
from tsobs_pipelines.temporary import remove_left_behind, temporary_directory
from tsobs_pipelines.terminal import waiting
from tsobs_pipelines.upkeep.copying import OF_VOLUMES, UNFINISHED
from tsobs_pipelines.upkeep.integrity import check_present, check_whole, dagster_files

BASE = Path(__file__).parents[2] / "dagster.yaml"
"""The configuration that ``dagster dev`` reads from the checkout."""

_INITIALISE_LOCK = 0x7473_6F62_73
"""Postgres' advisory lock of this name is for whoever initialises Dagster's tables."""

HISTORY = timedelta(days=31)
"""How far before the first start the first partition lies."""

_LAUNCHERS: Mapping[str, Mapping[str, object]] = {
    "default": {"module": "dagster", "class": "DefaultRunLauncher"},
    # Broker and results by Celery's own variables, for launcher and workers alike.
    "celery": {"module": "dagster_celery.launcher", "class": "CeleryRunLauncher"},
    "k8s": {"module": "dagster_k8s", "class": "K8sRunLauncher"},
}


LONGEST_SOCKET = 107
"""How long the path of a Unix socket may be on Linux, in bytes."""

_NEW_DATE = ".start_date-"
_PROBE = ".writable"
_FOLDERS = ("dagster", "logs", "locks", "models", "tmp")
_FILES = (START_DATE_FILE, "tsobs.db", "tsobs.db-wal", "tsobs.db-shm", "up.lock")
_OWN_NAMES = frozenset({*_FOLDERS, *_FILES})
"""What a command before the first start makes in the state directory."""


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


def prepare_state(settings: Settings, today: date) -> None:
    """Make the state directory, private to its user, and keep the first partition's date in it.

    What this process and those that it becomes write from now on is for their user alone.

    Raises:
        SettingsError: the directory can't be made or written to, or holds something else; the first partition
            lies in the future; there is no directory for the database.
    """
    state = settings.state_dir
    if (length := len(os.fsencode(dagster_home(settings).fork_socket))) > LONGEST_SOCKET:
        raise SettingsError(
            f"TSOBS_STATE_DIR={shown_value(str(state), 300)}: expected a path shorter by "
            f"{length - LONGEST_SOCKET} characters, for the sockets in it"
        )
    _check_start_date(settings, today)
    os.umask(0o077)
    try:
        _take_directory(state)
        _keep_start_date(state, today)
        (state / _PROBE).write_text("", "utf-8")
        (state / _PROBE).unlink(missing_ok=True)  # by another part that starts as well
        dagster_home(settings).root.mkdir(exist_ok=True)
        temporary_directory(state).mkdir(exist_ok=True)
        # Left by runs and commands that were killed.
        for place in (temporary_directory(state), Path(tempfile.gettempdir())):
            remove_left_behind(place)
        # Where tsobs 0.1 before December 2026 kept its run queue; what was under way there is tried again.
        shutil.rmtree(state / "broker", ignore_errors=True)
    except OSError as error:
        raise SettingsError(
            f"TSOBS_STATE_DIR={shown_value(str(state), 300)}: expected a directory that can be written to "
            f"({error.strerror})"
        ) from error
    _check_database_directory(settings)


def _check_start_date(settings: Settings, today: date) -> None:
    if settings.start_date > today:
        given = settings.start_date_override is not None
        source = "TSOBS_START_DATE=" if given else f"{settings.state_dir / START_DATE_FILE}: "
        raise SettingsError(f"{source}{settings.start_date}: expected a date up to today, {today}")


def _check_database_directory(settings: Settings) -> None:
    file = settings.database_file
    if file is not None and not file.parent.is_dir():
        raise SettingsError(
            f"TSOBS_DATABASE_URL={settings.database_url}: expected a file in a directory that exists"
        )


def _keep_start_date(state: Path, today: date) -> None:
    """Write the first partition's date, whole or not at all, unless it is there already."""
    start = state / START_DATE_FILE
    if start.exists():
        return
    fd, name = tempfile.mkstemp(prefix=_NEW_DATE, dir=state)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(f"{today - HISTORY:%Y-%m-%d}\n")
    # The name is absolute: by a relative one the same directory may be reached through another mount.
    (state / Path(name).name).replace(start)


def _take_directory(state: Path) -> None:
    """Make the directory, or make sure that it is tsobs's own or empty; others are left as they are.

    Raises:
        SettingsError: something else is in it.
        OSError: it can't be made or read.
    """
    shown = f"TSOBS_STATE_DIR={shown_value(str(state), 300)}"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (state / UNFINISHED).exists():
        raise SettingsError(f"{shown}: a restore into it did not finish: remove it, and restore again")
    names = {path.name for path in state.iterdir() if not _is_of_a_new_one(path.name)}
    if not _is_own(state, names):
        raise SettingsError(
            f"{shown}: expected a directory of tsobs's own or an empty one, and "
            f"{shown_value(min(names - _OWN_NAMES or names))} is in it"
        )
    for name in names & _OWN_NAMES:
        if name in _FOLDERS and not (state / name).is_dir():
            raise SettingsError(f"{shown}: expected {name} in it to be a directory")
        if name in _FILES and not (state / name).is_file():
            raise SettingsError(f"{shown}: expected {name} in it to be a file")
    # A mounted volume is somebody else's to set up.
    if state.stat().st_uid == os.getuid() and not state.is_mount():
        state.chmod(0o700)


def _is_of_a_new_one(name: str) -> bool:
    """Whether an empty volume has it, or a first start that ended before it was done."""
    return name in {*OF_VOLUMES, _PROBE} or name.startswith(_NEW_DATE)


def _is_own(state: Path, names: set[str]) -> bool:
    """Whether a directory is tsobs's own or empty.

    Before the first start commands make generic names in it (``logs``): then there is a file that only tsobs
    makes, the database or a day of the logs.
    """
    # Asked after the names were listed: another part that starts writes the date before anything else.
    if not names or os.path.lexists(state / START_DATE_FILE):
        return True
    if not names <= _OWN_NAMES:
        return False
    return (state / "tsobs.db").is_file() or any(
        parse_name(path.name) for path in (state / "logs").glob("tsobs-*")
    )


def base_configuration() -> dict[str, object]:
    """What the project's ``dagster.yaml`` says."""
    loaded: dict[str, object] = yaml.safe_load(BASE.read_text("utf-8"))
    return loaded


def instance_configuration(settings: Settings) -> dict[str, object]:
    """The content of ``dagster.yaml`` in Dagster's home.

    Raises:
        SettingsError: the run launcher's package is not installed, or its configuration can't be read.
    """
    base = base_configuration()
    return {
        **base,
        "python_logs": _at_level(base["python_logs"], settings.log_level),
        "storage": _storage(settings),
        # Runs log as JSON; capturing stdout would start two processes a step.
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "run_monitoring": _run_monitoring(settings, base),
        **_run_queue(settings),
        "run_launcher": _launcher(settings),
    }


def _run_queue(settings: Settings) -> Mapping[str, object]:
    """The queue of runs: one backfill at a time leaves room for everything else, on one machine."""
    backfills = 1 if settings.run_launcher == "default" else 4
    one_of_each = {"applyLimitPerUniqueValue": True}
    limits: list[dict[str, object]] = [
        {"key": "dagster/backfill", "limit": backfills},
        {"key": QUEUE_TAG, "value": BACKFILLS, "limit": backfills},
        # Runs of one schedule are executed in order, and so are those of one sensor.
        {"key": "dagster/schedule_name", "value": one_of_each, "limit": 1},
        {"key": "dagster/sensor_name", "value": one_of_each, "limit": backfills},
    ]
    queue = {
        "dequeue_interval_seconds": 1,
        # A code server that died serves again within seconds; its runs wait instead of failing.
        "max_user_code_failure_retries": 100,
        "user_code_failure_retry_delay": 2,
    }
    coordinator = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator", "config": queue}
    runs = {"max_concurrent_runs": 10, "tag_concurrency_limits": limits}
    return {"run_coordinator": coordinator, "concurrency": {"runs": runs}}


def _launcher(settings: Settings) -> Mapping[str, object]:
    launcher = _LAUNCHERS[settings.run_launcher]
    if find_spec(str(launcher["module"]).partition(".")[0]) is None:
        name = settings.run_launcher
        raise SettingsError(f"TSOBS_RUN_LAUNCHER={name}: expected tsobs[{name}] to be installed")
    return {**launcher, "config": _launcher_config(settings.run_launcher_config)}


def _launcher_config(file: Path | None) -> Mapping[str, object]:
    """What the file says; the launcher itself knows which names there are."""
    if file is None:
        return {}
    shown = f"TSOBS_RUN_LAUNCHER_CONFIG={shown_value(str(file), 300)}"
    try:
        loaded = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{shown}: expected a YAML file that can be read ({reason})") from error
    if not isinstance(loaded, dict):
        raise SettingsError(f"{shown}: expected a mapping of names to values, not {shown_value(str(loaded))}")
    return loaded


def _at_level(value: object, level: str) -> object:
    """The configuration with ``level`` wherever it names a level of a logger or handler."""
    if not isinstance(value, dict):
        return value
    names = {"python_log_level", "threshold"}
    return {key: level if key in names else _at_level(item, level) for key, item in value.items()}


def _run_monitoring(settings: Settings, base: Mapping[str, object]) -> object:
    configured = base["run_monitoring"]
    if settings.run_launcher != "default" or not isinstance(configured, dict):
        return configured
    # A run that is launched starts within seconds, unless the daemon was killed while launching it.
    return {**configured, "start_timeout_seconds": 45}


def _storage(settings: Settings) -> dict[str, object]:
    if settings.dagster_database_url is not None:
        # By its name in the environment: the configuration file holds no password.
        return {"postgres": {"postgres_url": {"env": "TSOBS_DAGSTER_DATABASE_URL"}}}
    place = {"base_dir": str(dagster_home(settings).root / "storage")}
    if settings.dagster_patches == "off":
        return {"sqlite": place}
    kept = {"module": "tsobs_pipelines.dagster_storage.sqlite", "class": "SqliteStorage", "config": place}
    return {"custom": kept}


def write_home(settings: Settings) -> Home:
    """Write the configuration of instance and workspace; both are replaced whole."""
    home = dagster_home(settings)
    _replace(home.root / "dagster.yaml", instance_configuration(settings))
    workspace = {"load_from": [{"grpc_server": {"socket": str(home.socket), "location_name": "tsobs"}}]}
    _replace(home.workspace, workspace)
    return home


def _replace(path: Path, content: Mapping[str, object]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    temporary.replace(path)


def initialise_instance(settings: Settings) -> None:
    """Create or migrate Dagster's storage, before anything else opens it; once for each version of Dagster.

    Webserver, daemon and workers that start together on an empty directory race in Dagster's migrations.

    Raises:
        SettingsError: the storage can't be used, or the launcher does not accept its configuration.
    """
    home = dagster_home(settings)
    done = home.root / "initialised"
    postgres = settings.dagster_database_url is not None
    state = f"dagster {version('dagster')} on {'Postgres' if postgres else 'SQLite'}\n"
    files = () if postgres else dagster_files(home.root / "storage")
    if done.exists() and done.read_text("utf-8").endswith(state.partition(" on ")[2]):
        check_present(files, done)
    check_whole(files)
    if done.exists() and done.read_text("utf-8") == state:
        return
    what = f"preparing Dagster's storage for version {version('dagster')}"
    # In a process of its own: the supervisor lives for months, and needs none of what this imports.
    with waiting(what):
        child = subprocess.run(
            [sys.executable, "-m", "tsobs_pipelines.dagster_storage.home"],
            env={**os.environ, **dagster_environment(settings)},
            capture_output=True,
            text=True,
            check=False,
        )
    if child.returncode:
        # SQLAlchemy ends its texts with the statement and a link.
        said = [line for line in child.stderr.splitlines() if line.strip() and line[0] not in "([ "]
        last = said[-1] if said else f"status {child.returncode}"
        plain = re.sub(r"^([\w.]+: )?(\([\w.]+\) )?", "", last)  # without the names of exceptions
        raise SettingsError(f"Dagster can't be set up in {home.root}: {plain[:300]}")
    done.write_text(state, "utf-8")


def _initialise() -> None:
    """Open every part of the storage once, in a process whose environment says which."""
    import dagster as dg  # noqa: PLC0415 - only here

    url = os.environ.get("TSOBS_DAGSTER_DATABASE_URL")
    with _one_at_a_time(url), dg.DagsterInstance.get() as instance:
        with contextlib.redirect_stdout(io.StringIO()):
            instance.upgrade()
        instance.get_runs(limit=1)
        instance.event_log_storage.get_maximum_record_id()
        instance.all_instigator_state()
        try:
            _ = instance.run_launcher
        except dg.DagsterInvalidConfigError as error:
            sys.exit("; ".join(one.message for one in error.errors))


@contextlib.contextmanager
def _one_at_a_time(url: str | None) -> Iterator[None]:
    """On a Postgres, machines that start at once would race in Dagster's migrations."""
    if url is None:
        yield
        return
    from sqlalchemy import create_engine, func, select  # noqa: PLC0415 - only here

    with create_engine(url).connect() as connection:
        connection.execute(select(func.pg_advisory_lock(_INITIALISE_LOCK)))
        yield


if __name__ == "__main__":
    _initialise()
