"""The variables of ``.env``: a file that is there but can't be understood is an error, not an empty file."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from tsobs_pipelines.small_file import small_file

MAX_BYTES: Final = 2**20

_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)")
_LINE_ENDS = re.compile(r"\r\n|\n|\r")


def read_dotenv(path: Path, known: Collection[str]) -> dict[str, str | None]:
    """The variables of the file, none where there is no file; ``known`` are the names that tsobs reads.

    Raises:
        ValueError: it can't be read, or a line of it can't be understood; the text is one line, and repeats
            of the file only a known name.
    """
    text = _text(path)
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            begin = binding.original.string
            line = binding.original.line + len(_LINE_ENDS.findall(begin[: len(begin) - len(begin.lstrip())]))
            raise ValueError(f"{path}: line {line}{_named(begin, known)}: expected NAME=value")
        if binding.value is None and binding.key in known:
            raise ValueError(f"{path}: line {binding.original.line} ({binding.key}): expected NAME=value")
    return dotenv_values(stream=StringIO(text))


def _text(path: Path) -> str:
    # Some containers mount this one over the file to take it away.
    if os.path.realpath(path) == os.devnull:
        return ""
    try:
        return small_file(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, and byte {error.start} is not") from None
    except ValueError as error:
        raise ValueError(f"{path}: can't be read ({error})") from None


def _named(line: str, known: Collection[str]) -> str:
    found = _NAME.match(line)
    return f" ({found[1]})" if found and found[1] in known else ""
