"""Dagster's home and storage: configuration, files, history and records."""
