"""Integration tests of alerting."""
