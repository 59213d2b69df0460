"""Integration tests of processes."""
