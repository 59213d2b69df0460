"""Integration tests of tailnet."""
