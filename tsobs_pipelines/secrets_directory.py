"""The directory with a file for each secret, named like its variable.

Docker's and Kubernetes' mounts, and systemd's credentials, look like that. Other programs may have their
secrets in the same directory.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from tsobs_pipelines.setting_values import check_home

MAX_SECRET_BYTES = 64 * 2**10
"""Of the file of a secret."""


def secrets_directory(value: str, known: Collection[str]) -> Path:
    """The directory; ``known`` are the names of variables that tsobs reads.

    Raises:
        ValueError: it, or the file of a variable in it, can't be read; the text says which.
    """
    check_home(value)
    try:
        found = sorted(path for path in Path(value).iterdir() if path.name.upper() in known)
    except (OSError, ValueError):
        msg = "expected a directory that can be read"
        raise ValueError(msg) from None
    for path in found:
        if (reason := _why_no_secret(path)) is not None:
            raise ValueError(f"{path.name} {reason}")
    return Path(value)


def misspelt_files(directory: Path, known: Collection[str]) -> dict[str, str | None]:
    """The files that are named almost like a variable, each with the name that looks most like it."""
    found: dict[str, str | None] = {}
    for name in (path.name for path in directory.iterdir()):
        upper = name.upper()
        if upper in known or name.startswith("."):
            continue
        close = get_close_matches(upper.partition(".")[0], known, n=1, cutoff=0.9)
        if close or upper.startswith("TSOBS_"):
            found[name] = next(iter(close or get_close_matches(upper, known, n=1)), None)
    return found


def _why_no_secret(path: Path) -> str | None:
    """Why this file can't be used; ``None`` when it can."""
    if not path.is_file():
        return "is not a file"
    try:
        if path.stat().st_size > MAX_SECRET_BYTES:
            return f"has more than {MAX_SECRET_BYTES} bytes"
        path.read_text("utf-8")
    except OSError:
        return f"can't be read by user {os.getuid()}"
    except UnicodeDecodeError:
        return "is not UTF-8"
    return None
