"""Lab tests of operations."""
