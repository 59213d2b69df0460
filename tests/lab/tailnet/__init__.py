"""Lab tests of tailnet."""
