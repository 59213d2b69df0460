"""Dagster's definitions, by domain."""
