"""The watched tailnets: name, sidecar, nodes and thresholds of each.

The file of ``TSOBS_TAILNETS_FILE`` is TOML with a table for each tailnet beside the first::

    [office]
    sidecar_url = "http://office-observer:8765"
    sidecar_token_file = "/run/secrets/office"
    critical_nodes = ["git", "printer"]
    latency_threshold_ms = 150
    latency_thresholds_ms = { printer = 400 }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from tsobs_pipelines.setting_values import (
    SHOWN,
    HttpUrl,
    LocalPath,
    Milliseconds,
    NodeName,
    shown_of,
)
from tsobs_pipelines.small_file import small_file

HOME: Final = "default"
"""The name of the tailnet of ``TSOBS_SIDECAR_URL``: the tag of its rows since the first version."""

DEMO: Final = "demo"
"""The name of the simulated tailnet, whose rows are kept apart from real ones."""

DEFAULT_THRESHOLD_MS: Final = 100.0

MAX_FILE_BYTES: Final = 2**20
"""Of ``TSOBS_TAILNETS_FILE``."""
MAX_TOKEN: Final = 512
"""Characters of a sidecar's token."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")


class Tailnet(BaseModel):
    """One tailnet. Its name is the tag of its rows and the scope of its alerts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sidecar_url: HttpUrl | None = None
    """``None``: the simulated one."""
    sidecar_token_file: LocalPath | None = None
    critical_nodes: Annotated[tuple[NodeName, ...], Field(min_length=1)]
    latency_threshold_ms: Milliseconds = DEFAULT_THRESHOLD_MS
    latency_thresholds_ms: Mapping[NodeName, Milliseconds] = {}

    @property
    def demo(self) -> bool:
        """Whether it is simulated."""
        return self.sidecar_url is None

    @property
    def source(self) -> str:
        """Where its data come from, as people read it."""
        return str(self.sidecar_url or "DEMO tailnet")

    @property
    def first(self) -> bool:
        """Whether it is the one that needs no name: its assets, jobs and messages carry none."""
        return self.name in {HOME, DEMO}

    def latency_threshold_of(self, hostname: str) -> float:
        """The latency threshold of one node, in ms."""
        return self.latency_thresholds_ms.get(hostname, self.latency_threshold_ms)

    def suffixed(self, name: str) -> str:
        """The name of a job, schedule or sensor of this tailnet."""
        return name if self.first else f"{name}_{self.name}"

    def __hash__(self) -> int:
        """By the name, which no two tailnets of one system share."""
        return hash(self.name)

    def __str__(self) -> str:
        """The name, as messages and lists show it."""
        return self.name


_KEYS: Final = tuple(name for name in Tailnet.model_fields if name != "name")
_LISTED: Final = ", ".join(_KEYS)


class _Entry(Tailnet):
    """A further tailnet: it is real, so that its sidecar must be named."""

    sidecar_url: HttpUrl


def read_token(path: Path) -> str:
    """The bearer token in a file.

    Raises:
        OSError: the file can't be read.
        ValueError: it holds no token, or something else as well; the text does not repeat it.
    """
    # A line end or two, also of another system.
    token = small_file(path, MAX_TOKEN + 4).decode("utf-8", "replace").strip()
    if not (token.isascii() and token.isprintable()) or not 0 < len(token) <= MAX_TOKEN or " " in token:
        msg = f"holds no token of at most {MAX_TOKEN} printable characters"
        raise ValueError(msg)
    return token


def further_tailnets(path: Path) -> tuple[Tailnet, ...]:
    """The tailnets of a file, in its order.

    Raises:
        ValueError: the file can't be read, or one of its values can't be used; the text names it.
    """
    try:
        tables = tomllib.loads(small_file(path, MAX_FILE_BYTES).decode("utf-8"))
    except UnicodeDecodeError:
        msg = "expected a TOML file that can be read (not UTF-8)"
        raise ValueError(msg) from None
    except OSError as error:
        raise ValueError(f"expected a TOML file that can be read ({error.strerror})") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"expected TOML: {error}") from error
    except ValueError as error:
        raise ValueError(f"expected a TOML file that can be read ({error})") from None
    except RecursionError:
        msg = "expected a table for each tailnet, not thousands in one another"
        raise ValueError(msg) from None
    return tuple(_tailnet(name, table) for name, table in tables.items())


def _tailnet(name: str, table: object) -> Tailnet:
    if not _NAME.fullmatch(name) or name in {HOME, DEMO}:
        shown = name[:SHOWN] if name.isprintable() else ascii(name[:SHOWN])
        msg = f"[{shown}]: expected a name of a-z, 0-9 and _, at most 30 long, not {HOME} or {DEMO}"
        raise ValueError(msg)
    if not isinstance(table, dict) or "name" in table:
        msg = f"{name}: expected a table [{name}] with sidecar_url and critical_nodes"
        raise ValueError(msg)
    try:
        return _Entry.model_validate({"name": name, **table})
    except ValidationError as error:
        raise ValueError(f"[{name}] {_refusal(error.errors()[0])}") from None


def _refusal(error: ErrorDetails) -> str:
    """Which key is wrong, and why; of a value what its type lets be shown."""
    key = str(error["loc"][0])
    where = ".".join(str(part) for part in error["loc"])[:SHOWN]
    where = where if where.isprintable() else ascii(where)
    if error["type"] == "extra_forbidden":
        close = get_close_matches(key, [*_KEYS], n=1)
        return f"{where}: no such setting, {f'did you mean {close[0]}?' if close else f'expected {_LISTED}'}"
    known = error["type"] == "missing" or isinstance(error["input"], dict)
    shown = "" if known else shown_of(Tailnet.model_fields[key], error["input"])
    return f"{where}{shown}: {error['msg'].removeprefix('Value error, ')}"
