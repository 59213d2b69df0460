"""Helpers that several tests share, and the only part of the tests that benchmarks and campaigns import."""
