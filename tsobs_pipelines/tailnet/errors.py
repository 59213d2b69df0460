"""Errors of the sidecar client, by what the caller can do about them.

Texts name the address and the reason, and never the token.
"""

from __future__ import annotations


class SidecarError(RuntimeError):
    """The sidecar did not give what was asked; ``status`` is its HTTP status, ``None`` without an answer."""

    def __init__(self, url: str, reason: str, status: int | None = None) -> None:
        shown = f"{status} {reason}" if status is not None else reason
        super().__init__(f"sidecar {url}: {shown}")
        self.url = url
        self.reason = reason
        self.status = status


class SidecarUnavailableError(SidecarError):
    """No answer, a broken one, or one that says later (5xx, 429): worth another try."""


class SidecarRefusedError(SidecarError):
    """The sidecar won't answer this (4xx), or the token can't be read: the same request fails again."""
