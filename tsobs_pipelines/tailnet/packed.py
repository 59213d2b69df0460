"""Decompresses a gzip body as it arrives."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

_GZIP: Final = 31
"""zlib's word for gzip's frame and its largest window."""

_AT_ONCE: Final = 2**20
"""Bytes that are unpacked at once: a small body can hold very much."""


class TornError(ValueError):
    """The body is not gzip, or not all of it came."""


def unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What the chunks hold, in pieces of a MiB at the most.

    Raises:
        TornError: it is not one whole gzip stream.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield stream.decompress(rest, _AT_ONCE)
                if stream.unused_data:
                    message = "something follows the packed body"
                    raise TornError(message)
                rest = stream.unconsumed_tail
    except zlib.error as error:
        message = "the packed body can't be read"
        raise TornError(message) from error
    if not stream.eof:
        message = "the packed body is cut"
        raise TornError(message)
