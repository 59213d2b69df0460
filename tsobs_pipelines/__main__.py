"""``python -m tsobs_pipelines`` is the ``tsobs`` command."""

from tsobs_pipelines.cli.main import main

main(prog_name="tsobs")
