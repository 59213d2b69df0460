"""Dagster's webserver behind a guard: it has no authentication, and foreign pages must not reach it."""
