"""``python -m tsobs_pipelines.api``: the API as ``make up`` starts it."""

from __future__ import annotations

import sys

from tsobs_pipelines.api.serve import run
from tsobs_pipelines.logs.setup import setup_logging
from tsobs_pipelines.settings import SettingsError, load_settings
from tsobs_pipelines.timeseries.store import StoreError


def main() -> int:
    """Serve the API; the exit status says whether it could start."""
    try:
        settings = load_settings()
        setup_logging(settings.log_format_json)
        run(settings)
    except (SettingsError, StoreError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one line a person reads
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
