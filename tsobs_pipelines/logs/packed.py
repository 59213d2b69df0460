"""A compressed day: gzip members of about 1 MiB, each with an index of its content.

Any gzip program reads the file. Each member carries an extra field (RFC 1952, 2.3.1.1; the idea is BGZF's)
with its lengths, the span of its timestamps and the levels it holds: the search walks from header to header,
reads from the end, and leaves out members that can't match. The field also names the file and the position
that the member was made from, so that packing can be repeated after a crash without doubling a line.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tsobs_pipelines.logs.levels import NAMES
from tsobs_pipelines.logs.lines import STAMP_LENGTH

MEMBER_BYTES = 1 << 20
LONGEST_MEMBER = 64 << 20
SOURCE_BYTES = 8
ALL_LEVELS = (1 << len(NAMES)) - 1
_SOURCE_LINE_BYTES = 1 << 16
NO_STAMP_FIRST = b"0" * STAMP_LENGTH
NO_STAMP_LAST = b"9" * STAMP_LENGTH

_GZIP = struct.Struct("<2sBBIBBH")
_FIELD = struct.Struct(f"<2sHIIB{STAMP_LENGTH}s{STAMP_LENGTH}s{SOURCE_BYTES}sQ")
_TRAILER = struct.Struct("<II")
_HEADER_BYTES = _GZIP.size + _FIELD.size
_ID = b"TS"
_OWN = re.compile(rb'^\{"timestamp":"([0-9T:.-]{26}Z)","level":"([A-Z]+)"', re.MULTILINE)
_LEVEL_BITS = {name.encode(): 1 << bit for bit, name in enumerate(NAMES)}


@dataclass(frozen=True, slots=True)
class Member:
    """A piece of a packed day: ``start`` and ``packed`` are bytes of the gzip file, ``raw`` of its content.

    ``source`` and ``source_end`` say from which file it was made and up to where.
    """

    start: int
    packed: int
    raw: int
    levels: int
    first: str
    last: str
    source: bytes
    source_end: int


def source_of(fd: int) -> bytes:
    """What an open day file is recognised by: inode numbers are used again, its first line is not."""
    line = os.pread(fd, _SOURCE_LINE_BYTES, 0).partition(b"\n")[0]
    return hashlib.blake2b(line, digest_size=SOURCE_BYTES).digest()


def covered(packed: list[Member] | None, source_fd: int) -> int:
    """How many bytes of an open day file these members hold already."""
    source = source_of(source_fd)
    return max((one.source_end for one in packed or () if one.source == source), default=0)


def pack(lines: bytes, source: bytes, source_end: int) -> bytes:
    """One member that holds ``lines``."""
    found = _OWN.findall(lines)
    levels, first, last = ALL_LEVELS, NO_STAMP_FIRST, NO_STAMP_LAST
    if found and len(found) == lines.count(b"\n"):
        stamps = [stamp for stamp, _ in found]
        first, last = min(stamps), max(stamps)
        levels = 0
        for name in {name for _, name in found}:
            levels |= _LEVEL_BITS.get(name, ALL_LEVELS)
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(lines) + deflate.flush()
    length = _HEADER_BYTES + len(body) + _TRAILER.size
    return b"".join(
        (
            _GZIP.pack(b"\x1f\x8b", 8, 4, 0, 0, 255, _FIELD.size),
            _FIELD.pack(
                _ID, _FIELD.size - 4, length, len(lines), levels, first, last, source, source_end
            ),
            body,
            _TRAILER.pack(zlib.crc32(lines), len(lines) & 0xFFFFFFFF),
        )
    )  # fmt: skip


def members(fd: int) -> list[Member] | None:
    """The members of an open file, first to last; None when it was not, or not only, packed by tsobs."""
    result: list[Member] = []
    start, size = 0, os.fstat(fd).st_size
    while start < size:
        header = os.pread(fd, _HEADER_BYTES, start)
        if len(header) < _HEADER_BYTES:
            return None
        magic, method, flags, _, _, _, extra = _GZIP.unpack_from(header)
        name, length, packed, raw, levels, first, last, source, end = _FIELD.unpack_from(header, _GZIP.size)
        if (magic, method, flags, extra) != (b"\x1f\x8b", 8, 4, _FIELD.size):
            return None
        if (name, length) != (_ID, _FIELD.size - 4) or packed <= _HEADER_BYTES or raw > LONGEST_MEMBER:
            return None
        stamps = first.decode("ascii", "replace"), last.decode("ascii", "replace")
        result.append(Member(start, packed, raw, levels, *stamps, source, end))
        start += packed
    return result if start == size else None


def unpack(fd: int, member: Member) -> bytes:
    """The lines of a member.

    Raises:
        ValueError: it is damaged.
    """
    data = os.pread(fd, member.packed, member.start)
    body = data[_HEADER_BYTES : -_TRAILER.size]
    try:
        lines = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, member.raw + 1)
    except zlib.error as error:
        raise ValueError(f"damaged member at {member.start}: {error}") from error
    if len(lines) != member.raw or data[-_TRAILER.size :] != _TRAILER.pack(
        zlib.crc32(lines), member.raw & 0xFFFFFFFF
    ):
        raise ValueError(f"damaged member at {member.start}")
    return lines


def stream(fd: int, block_bytes: int) -> Iterator[bytes]:
    """The content of a gzip file of any origin, first to last, in blocks; ends where it is damaged."""
    position = 0
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while data := inflate.unconsumed_tail or inflate.unused_data or os.pread(fd, 1 << 16, position):
        if not inflate.unconsumed_tail and not inflate.unused_data:
            position += len(data)
        if inflate.eof:
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            block = inflate.decompress(data, block_bytes)
        except zlib.error:
            return
        if block:
            yield block
