"""Lab tests of processes."""
