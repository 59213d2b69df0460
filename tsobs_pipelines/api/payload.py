"""Responses as bytes: encoded and compressed once, sent many times, with ETags."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from fastapi import Request, Response
from pydantic import BaseModel

GZIP_FROM_BYTES = 1024
"""Smaller bodies fit into one packet anyway."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One body in both encodings, with the validator of its content."""

    media_type: str
    body: bytes
    compressed: bytes | None
    etag: str

    @classmethod
    def of(cls, body: bytes, media_type: str, *, level: int = 5) -> Self:
        """Encode ``body``; ``level`` is gzip's, 9 for what is compressed once in a process's life."""
        compressed = gzip.compress(body, level, mtime=0) if len(body) >= GZIP_FROM_BYTES else None
        return cls(media_type, body, compressed, f'W/"{sha256(body).hexdigest()[:24]}"')

    @classmethod
    def of_model(cls, model: BaseModel) -> Self:
        """Encode a response model as JSON."""
        return cls.of(model.model_dump_json().encode(), "application/json")

    @classmethod
    def of_json(cls, value: object) -> Self:
        """Encode plain values as ASCII JSON: texts may hold surrogates, which UTF-8 lacks."""
        try:
            text = json.dumps(value, separators=(",", ":"), allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
        return cls.of(text.encode(), "application/json")

    def response(self, request: Request, cache_control: str) -> Response:
        """The answer to ``request``: 304 when the client has this content, gzip when it can read it."""
        headers = {"ETag": self.etag, "Cache-Control": cache_control, "Vary": "Accept-Encoding"}
        if _matches(request.headers.get("if-none-match", ""), self.etag):
            return Response(status_code=304, headers=headers)
        if self.compressed is not None and _accepts_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            return Response(self.compressed, media_type=self.media_type, headers=headers)
        return Response(self.body, media_type=self.media_type, headers=headers)


def _finite(value: object) -> object:
    """The value with null for the numbers that Python writes and JSON does not know (NaN, Infinity)."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _matches(header: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: a list of validators, compared weakly, or ``*``."""
    names = {item.strip().removeprefix("W/") for item in header.split(",")}
    return "*" in names or etag.removeprefix("W/") in names


def _accepts_gzip(header: str) -> bool:
    """RFC 9110, 12.5.3, as far as gzip: named and not with a weight of 0."""
    for item in header.lower().split(","):
        coding, _, weight = item.strip().partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
