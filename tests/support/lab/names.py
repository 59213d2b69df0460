"""Names of hosts that can stop resolving for one tsobs: ``/etc/hosts`` of a mount namespace of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_IN_PLACE = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'


@dataclass
class Names:
    """Names of 127.0.0.1, and a resolver that nobody answers for."""

    place: Path
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Write both files."""
        (self.place / "resolv.conf").write_text(
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", "ascii"
        )
        self._write()

    @property
    def command(self) -> Sequence[str]:
        """What to put before a command that is to know these names only."""
        files = (str(self.place / "hosts"), str(self.place / "resolv.conf"))
        return ("unshare", "--mount", "sh", "-c", _IN_PLACE, "sh", *files)

    def learn(self, *names: str) -> None:
        """From now on these resolve."""
        self.known.update(names)
        self._write()

    def forget(self, *names: str) -> None:
        """From now on these don't."""
        self.known.difference_update(names)
        self._write()

    def _write(self) -> None:
        # In place: a bind mount shows the file that was there, not one that takes its name.
        lines = ["127.0.0.1 localhost", *(f"127.0.0.1 {name}" for name in sorted(self.known))]
        (self.place / "hosts").write_text("\n".join(lines) + "\n", "ascii")
