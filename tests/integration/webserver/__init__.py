"""Dagster's own webserver behind the guard."""
