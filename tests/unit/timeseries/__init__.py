"""Unit tests of timeseries."""
