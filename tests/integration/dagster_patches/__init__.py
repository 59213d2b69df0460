"""Tests of the patches of Dagster."""
