"""Dagster's definitions of housekeeping."""
