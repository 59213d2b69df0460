"""Integration tests of sidecar."""
