"""Lab tests of page."""
