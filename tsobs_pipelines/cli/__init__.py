"""The ``tsobs`` command: a module for each sub-command."""
