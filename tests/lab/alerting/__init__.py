"""Lab tests of alerting."""
