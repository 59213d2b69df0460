"""Tests of what tsobs changes in Dagster."""
