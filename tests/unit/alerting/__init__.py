"""Unit tests of alerting."""
