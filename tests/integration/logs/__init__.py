"""Integration tests of logs."""
