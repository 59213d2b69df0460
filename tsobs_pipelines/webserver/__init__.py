"""Dagster's webserver behind a guard: it knows no users, and a browser must not lend it to foreign pages."""
