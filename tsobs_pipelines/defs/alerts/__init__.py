"""Dagster's definitions of the alerts: assets, sensors, and the watch for silence."""
