"""``make bench``: run every measurement, or those named; each is also a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NOT_PROGRAMS = {"__init__", "__main__", "harness", "lear", "prices", "stock"}


def main(wanted: list[str]) -> int:
    """Run the programs one after the other; 1 if one failed."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    failed = []
    for name in wanted or [name for name in found if name not in NOT_PROGRAMS]:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode:
            failed.append(name)
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
