"""The definition of every environment variable of tsobs: name, type, unit and default.

Variables are read from the process environment, from ``.env`` in the working directory, and from files in
``TSOBS_SECRETS_DIR`` that are named like a variable; the first that has one wins.
A bad value raises :class:`SettingsError`, one line that names the variable, the
value (never that of a secret) and what was expected; :func:`unknown_names` finds misspelt ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from tsobs_pipelines.dotenv_file import read_dotenv
from tsobs_pipelines.price_sources import source_forms
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.secrets_directory import misspelt_files, secrets_directory
from tsobs_pipelines.setting_values import (
    Country,
    DatabaseUrl,
    HeartbeatUrl,
    HttpUrl,
    IpAddress,
    LinkUrl,
    ListenAddress,
    LocalPath,
    Milliseconds,
    Names,
    NotifyUrls,
    Place,
    Port,
    PostgresUrl,
    PriceSource,
    Secret,
    SourceName,
    StartDate,
    Text,
    ThreadId,
    Thresholds,
    TimeZone,
    check_home,
    shown_of,
    shown_value,
)
from tsobs_pipelines.small_file import small_file
from tsobs_pipelines.tailnet_settings import DEFAULT_THRESHOLD_MS, DEMO, HOME, Tailnet, further_tailnets

DEFAULT_START_DATE = date(2026, 11, 1)
"""First partition when neither the environment nor the state directory names one."""

START_DATE_FILE = "start_date"
"""The file in the state directory in which the first ``make up`` keeps the first partition's date."""

DOTENV = Path(".env")

RunLauncher = Literal["default", "celery", "k8s"]

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class StateFileUrl(SecretUrl):
    """A SQLite file in the state directory, which may be made for it; nobody else's directory may."""


class SettingsError(ValueError):
    """A setting has a value that can't be used; the text is one line for the person who set it."""


def _tailnets_of_file(value: object) -> object:
    if not isinstance(value, str):
        return value
    check_home(value)
    return further_tailnets(Path(value))


_MAX_DATE_BYTES = 64

MAX_MESSAGE = 300
"""Characters of what was expected of a bad value."""


def _directory(value: Path) -> Path:
    # Also a link that leads nowhere: a volume that is not mounted.
    if os.path.lexists(value) and not os.path.isdir(value):  # noqa: PTH112 - names that are too long are none
        msg = "expected a directory"
        raise ValueError(msg)
    return value


StateDirectory = Annotated[LocalPath, AfterValidator(_directory)]

TailnetsFile = Annotated[tuple[Tailnet, ...], NoDecode, BeforeValidator(_tailnets_of_file)]


class _Dotenv(EnvSettingsSource):
    """Variables of ``.env`` that have been read."""

    def __init__(self, settings: type[BaseSettings], values: Mapping[str, str | None]) -> None:
        self._values = values
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._values.items() if value}


class Settings(BaseSettings):
    """The settings of every tsobs process. Relative paths are relative to the working directory."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    secrets_dir: LocalPath | None = Field(
        None,
        validation_alias="TSOBS_SECRETS_DIR",
        description="directory with a file for each secret, named like its variable",
    )
    state_dir: StateDirectory = Field(
        Path("var"), validation_alias="TSOBS_STATE_DIR", description="all local state"
    )
    models_dir: Place = Field(
        SecretUrl("models"),
        validation_alias="TSOBS_MODELS_DIR",
        description="metrics history and models; a path or an fsspec URL",
    )
    sidecar_url: HttpUrl | None = Field(
        None, validation_alias="TSOBS_SIDECAR_URL", description="the sidecar; unset: the demo tailnet"
    )
    sidecar_token_file: LocalPath | None = Field(
        None, validation_alias="TSOBS_SIDECAR_TOKEN_FILE", description="file with the sidecar's bearer token"
    )
    critical_nodes: Names = Field(
        ("git", "chocolate-factory-dev", "chocolate-factory"),
        validation_alias="TSOBS_CRITICAL_NODES",
        description="nodes to watch, separated by commas",
    )
    further_tailnets: TailnetsFile = Field(
        (),
        validation_alias="TSOBS_TAILNETS_FILE",
        description="TOML file that names further tailnets, each with a sidecar of its own",
    )
    start_date_override: StartDate | None = Field(
        None,
        validation_alias="TSOBS_START_DATE",
        description="first partition (YYYY-MM-DD); unset: 31 days before the first `make up`",
    )
    run_launcher: RunLauncher = Field(
        "default",
        validation_alias="TSOBS_RUN_LAUNCHER",
        description="run launcher: `default` on this machine, `celery` or `k8s` (extras) on several",
    )
    run_launcher_config: LocalPath | None = Field(
        None,
        validation_alias="TSOBS_RUN_LAUNCHER_CONFIG",
        description="YAML file with the run launcher's own configuration, as dagster-k8s and dagster-celery "
        "document it",
    )
    dagster_patches: Literal["on", "off"] = Field(
        "on",
        validation_alias="TSOBS_DAGSTER_PATCHES",
        description="`off`: Dagster unmodified; runs cost ten times as much",
    )
    database_url_override: DatabaseUrl = Field(
        None,
        validation_alias="TSOBS_DATABASE_URL",
        description="SQL store, alert state and outbox; unset: SQLite in the state directory",
    )
    dagster_database_url: PostgresUrl = Field(
        None,
        validation_alias="TSOBS_DAGSTER_DATABASE_URL",
        description="Postgres under Dagster (postgresql://…); unset: SQLite in the state directory",
    )
    influx_url: HttpUrl | None = Field(
        None, validation_alias="INFLUXDB_V2_URL", description="InfluxDB 2 for the time series; unset: SQL"
    )
    influx_org: Text | None = Field(
        None, validation_alias="INFLUXDB_V2_ORG", description="InfluxDB organisation"
    )
    influx_token: Secret = Field(
        None,
        validation_alias="INFLUXDB_V2_TOKEN",
        description="InfluxDB token that may read and write the bucket",
    )
    influx_bucket: Text = Field(
        "analytics", validation_alias="TSOBS_INFLUX_BUCKET", description="InfluxDB bucket"
    )
    latency_threshold_ms: Milliseconds = Field(
        DEFAULT_THRESHOLD_MS, validation_alias="TSOBS_LATENCY_THRESHOLD_MS", description="latency rule"
    )
    latency_thresholds_ms: Thresholds = Field(
        {},
        validation_alias="TSOBS_LATENCY_THRESHOLDS_MS",
        description="latency rule of single nodes: `git=150,…`",
    )
    telegram_bot_token: Secret = Field(
        None,
        validation_alias="TELEGRAM_BOT_TOKEN",
        description="bot token; unset: the outbox keeps the messages",
    )
    telegram_chat_id: Text | None = Field(
        None, validation_alias="TELEGRAM_CHAT_ID", description="chat that gets the alerts"
    )
    telegram_thread_id: ThreadId | None = Field(
        None, validation_alias="TELEGRAM_THREAD_ID", description="topic in that chat"
    )
    telegram_api_url: HttpUrl = Field(
        SecretUrl("https://api.telegram.org"),
        validation_alias="TELEGRAM_API_URL",
        description="Bot API server",
    )
    telegram_pictures: bool = Field(
        True,  # noqa: FBT003 - the default of a switch
        validation_alias="TELEGRAM_PICTURES",
        description="a picture follows messages about latency and forecasts; false: text only",
    )
    notify_urls: NotifyUrls = Field(
        (),
        validation_alias="TSOBS_NOTIFY_URLS",
        description="further channels of alerts: addresses in the form of Apprise, separated by spaces",
    )
    price_source: PriceSource = Field(
        "demo",
        repr=False,  # the address of a file may hold credentials
        validation_alias="TSOBS_PRICE_SOURCE",
        description=", ".join(f"`{form}`" for form in source_forms()),
    )
    price_source_name: SourceName | None = Field(
        None,
        validation_alias="TSOBS_PRICE_SOURCE_NAME",
        description="name under which prices of `csv:…` are stored; unset: from the file's name and path",
    )
    esios_token: Secret = Field(
        None, validation_alias="TSOBS_ESIOS_TOKEN", description="token of ESIOS, for the source `esios`"
    )
    entsoe_token: Secret = Field(
        None,
        validation_alias="TSOBS_ENTSOE_TOKEN",
        description="token of ENTSO-E's transparency platform, for the source `entsoe`",
    )
    market_timezone: TimeZone = Field(
        "Europe/Madrid",
        validation_alias="TSOBS_MARKET_TIMEZONE",
        description="time zone of the delivery days",
    )
    market_country: Country | None = Field(
        None,
        validation_alias="TSOBS_MARKET_COUNTRY",
        description="country (ISO 3166) of holidays and auction; unset: the country of the time zone",
    )
    dagster_port: Port = Field(
        3000, validation_alias="TSOBS_DAGSTER_PORT", description="Dagster UI of `make up`, on loopback"
    )
    api_host: ListenAddress = Field(
        "127.0.0.1", validation_alias="TSOBS_API_HOST", description="address the API listens on"
    )
    api_port: Port = Field(8000, validation_alias="TSOBS_API_PORT", description="port the API listens on")
    dagster_url_override: LinkUrl | None = Field(
        None, validation_alias="TSOBS_DAGSTER_URL", description="Dagster UI in links; unset: from the port"
    )
    public_url_override: LinkUrl | None = Field(
        None, validation_alias="TSOBS_PUBLIC_URL", description="the page in links; unset: from host and port"
    )
    require_tailscale_user: bool | None = Field(
        None,
        validation_alias="TSOBS_REQUIRE_TAILSCALE_USER",
        description="reject requests without a Tailscale user; unset: only if the API is not on loopback",
    )
    trusted_proxy: IpAddress | None = Field(
        None,
        validation_alias="TSOBS_TRUSTED_PROXY",
        description="address of the one proxy whose Tailscale-User-Login header is trusted",
    )
    proxy_secret: Secret = Field(
        None,
        validation_alias="TSOBS_PROXY_SECRET",
        description="what that proxy must send as `Tsobs-Proxy-Secret`; needed beside a tailscaled in "
        "userspace mode, where peers arrive from 127.0.0.1 as well",
    )
    log_format_json: bool = Field(
        True,  # noqa: FBT003 - the default of a switch
        validation_alias="LOG_FORMAT_JSON",
        description="JSON logs; false: plain text",
    )
    log_level: LogLevel = Field("INFO", validation_alias="TSOBS_LOG_LEVEL", description="lowest level logged")
    log_retention_days: int = Field(
        30, ge=1, le=3650, validation_alias="TSOBS_LOG_RETENTION_DAYS", description="days that logs are kept"
    )
    run_retention_days: int = Field(
        7,
        ge=2,
        le=3650,
        validation_alias="TSOBS_RUN_RETENTION_DAYS",
        description="days that superseded runs are kept; the newest of every partition stays",
    )
    failed_run_retention_days: int = Field(
        30,
        ge=2,
        le=3650,
        validation_alias="TSOBS_FAILED_RUN_RETENTION_DAYS",
        description="days that failed and cancelled runs are kept",
    )
    alert_retention_days: int = Field(
        400,
        ge=31,
        le=36500,
        validation_alias="TSOBS_ALERT_RETENTION_DAYS",
        description="days that ended incidents and settled messages are kept",
    )
    timeseries_retention_days: int = Field(
        400,
        ge=45,
        le=36500,
        validation_alias="TSOBS_TIMESERIES_RETENTION_DAYS",
        description="days that the tailnet's time series are kept",
    )
    model_retention_days: int = Field(
        90,
        ge=7,
        le=36500,
        validation_alias="TSOBS_MODEL_RETENTION_DAYS",
        description="days that fitted models are kept after their delivery day; the newest stays",
    )
    tailscaled_log: LocalPath | None = Field(
        None,
        validation_alias="TSOBS_TAILSCALED_LOG",
        description="file of tailscaled's own log, copied into the logs",
    )
    heartbeat_url: HeartbeatUrl | None = Field(
        None, validation_alias="TSOBS_HEARTBEAT_URL", description="fetched after each healthy cycle"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, ``.env``, and the directory of secrets; the file is read once.

        Raises:
            SettingsError: the file or the directory can't be read or understood.
        """
        dotenv = _dotenv()
        secrets = SecretsSettingsSource(settings_cls, _secrets_directory(dotenv))
        return init_settings, env_settings, _Dotenv(settings_cls, dotenv), secrets

    @property
    def first_tailnet(self) -> Tailnet:
        """The first tailnet: the one of ``TSOBS_SIDECAR_URL``, or the simulated one."""
        return Tailnet(
            name=DEMO if self.sidecar_url is None else HOME,
            sidecar_url=self.sidecar_url,
            sidecar_token_file=self.sidecar_token_file,
            critical_nodes=self.critical_nodes,
            latency_threshold_ms=self.latency_threshold_ms,
            latency_thresholds_ms=self.latency_thresholds_ms,
        )

    @property
    def tailnets(self) -> tuple[Tailnet, ...]:
        """Every tailnet that is watched, the first one first."""
        return (self.first_tailnet, *self.further_tailnets)

    @property
    def demo_prices(self) -> bool:
        """Whether the price market is the simulated one."""
        return self.price_source == "demo"

    @property
    def start_date(self) -> date:
        """The first partition: the environment's, else the one kept by the first start, else 2026-11-01.

        Raises:
            SettingsError: the file of the first start can't be read, or holds no such date.
        """
        if self.start_date_override is not None:
            return self.start_date_override
        return _kept_start_date(self.state_dir / START_DATE_FILE)

    @property
    def database_url(self) -> SecretUrl:
        """SQLAlchemy URL of the SQL database."""
        file, given = self.database_file, self.database_url_override
        if given is not None:
            own = file is not None and file.is_relative_to(self.state_dir.absolute())
            return StateFileUrl(given.get_secret_value()) if own else given
        # What the library would decode, or take for the beginning of a query.
        path = str(file).replace("%", "%25").replace("?", "%3F")
        return StateFileUrl(f"sqlite:///{path}")

    @property
    def dagster_url(self) -> str:
        """Where a person opens the Dagster UI, without a trailing slash."""
        return self.dagster_url_override or f"http://127.0.0.1:{self.dagster_port}"

    @property
    def api_url(self) -> str:
        """Where the API answers on this machine, without a trailing slash."""
        host = "127.0.0.1" if self.api_host in {"0.0.0.0", "::"} else self.api_host  # noqa: S104 - compared only
        return f"http://[{host}]:{self.api_port}" if ":" in host else f"http://{host}:{self.api_port}"

    @property
    def public_url(self) -> str:
        """Where a person opens the API and its page, without a trailing slash."""
        return self.public_url_override or self.api_url

    @property
    def database_file(self) -> Path | None:
        """The SQLite file of the SQL database; ``None`` where it is a server's."""
        if self.database_url_override is None:
            return (self.state_dir / "tsobs.db").absolute()
        from sqlalchemy import make_url  # noqa: PLC0415 - a supervisor that lives for months needs none of it

        url = make_url(self.database_url_override.get_secret_value())
        named = url.get_backend_name() == "sqlite" and url.database not in {None, "", ":memory:"}
        return Path(url.database or "").absolute() if named else None

    @property
    def local_models(self) -> Path | None:
        """The directory of models and metrics history; ``None`` where it is not on the local disk."""
        place = self.models_dir.get_secret_value().removeprefix("file://")
        # Absolute, without resolving symbolic links.
        return None if "://" in place else Path(os.path.abspath(place))  # noqa: PTH100

    @property
    def page_url(self) -> str:
        """Where a person opens the VPN page."""
        return f"{self.public_url}/vpn.html"

    def secrets(self) -> tuple[str, ...]:
        """Every configured secret in clear, for the redaction of logs and errors."""
        values = [getattr(self, name) for name in type(self).model_fields]
        values += [tailnet.sidecar_url for tailnet in self.further_tailnets]
        urls = [value for value in (*values, *self.notify_urls) if isinstance(value, SecretUrl)]
        urls.append(SecretUrl(self.price_source))
        tokens = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        return (*tokens, *(part for url in urls for part in url.credentials()))


def _kept_start_date(file: Path) -> date:
    try:
        text = small_file(file, _MAX_DATE_BYTES).decode("ascii").strip()
        found: date = TypeAdapter(StartDate).validate_python(text)
    except (FileNotFoundError, NotADirectoryError):
        return DEFAULT_START_DATE
    except OSError as error:
        raise SettingsError(f"{file}: can't be read ({error.strerror})") from None
    except ValueError:
        raise SettingsError(
            f"{file}: expected the date of the first partition, from 2000 on, such as {DEFAULT_START_DATE}; "
            "TSOBS_START_DATE overrides it"
        ) from None
    return found


def load_settings() -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: a value can't be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        field = next((f for f in Settings.model_fields.values() if f.validation_alias == name), None)
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}{shown_of(field, first['input'])}: {message[:MAX_MESSAGE]}") from None


def settings_of_process() -> Settings:
    """The settings as this process read them first; a fork reads them anew, and so does a new environment.

    For what is made again and again, such as the log handlers that Dagster makes twice a run.

    Raises:
        SettingsError: a value can't be used.
    """
    return _read_once(os.getpid(), frozenset(os.environ.items()))


@lru_cache(maxsize=1)
def _read_once(_pid: int, _environment: frozenset[tuple[str, str]]) -> Settings:
    return load_settings()


def _dotenv() -> dict[str, str | None]:
    try:
        return read_dotenv(DOTENV, known_names())
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _secrets_directory(dotenv: Mapping[str, str | None]) -> Path | None:
    value = os.environ.get("TSOBS_SECRETS_DIR") or dotenv.get("TSOBS_SECRETS_DIR")
    if not value:
        return None
    try:
        return secrets_directory(value, known_names())
    except ValueError as error:
        raise SettingsError(f"TSOBS_SECRETS_DIR={shown_value(value)}: {error}") from None


def known_names() -> tuple[str, ...]:
    """Every environment variable that tsobs reads, sorted."""
    return tuple(sorted(str(field.validation_alias) for field in Settings.model_fields.values()))


def unknown_names() -> dict[str, str | None]:
    """The ``TSOBS_…`` variables that nobody reads, each with the known name that looks most like it.

    Also the files in the directory of secrets that are named almost like a setting.

    Raises:
        SettingsError: ``.env`` or the directory of secrets can't be read.
    """
    known = known_names()
    dotenv = _dotenv()
    unknown = {name for name in (*os.environ, *dotenv) if name.startswith("TSOBS_") and name not in known}
    found = {name: next(iter(get_close_matches(name, known, n=1)), None) for name in unknown}
    if (directory := _secrets_directory(dotenv)) is not None:
        found |= misspelt_files(directory, known)
    return dict(sorted(found.items()))
