"""Dagster's definitions of the tailnets: journal, metrics, checks, healing."""
