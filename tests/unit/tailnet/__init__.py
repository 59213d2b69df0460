"""Unit tests of tailnet."""
