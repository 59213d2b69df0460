"""Integration tests of timeseries."""
