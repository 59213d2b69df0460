"""Unit tests of logs."""
