"""``python -m tsobs_pipelines.api``: the API as ``make up`` starts it."""

from __future__ import annotations

import sys

from tsobs_pipelines.api.serve import run
from tsobs_pipelines.logs.setup import setup_logging
from tsobs_pipelines.settings import SettingsError, load_settings
from tsobs_pipelines.timeseries.store import StoreError


def main() -> None:
    """Serve the API until told to end.

    Raises:
        SettingsError, StoreError, OSError: it can't start.
    """
    settings = load_settings()
    setup_logging(settings.log_format_json)
    run(settings)


if __name__ == "__main__":
    try:
        main()
    except (SettingsError, StoreError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one line a person reads
        sys.exit(2)
