"""Dagster's home and storage: its configuration, its files, its history, and what it has recorded."""
