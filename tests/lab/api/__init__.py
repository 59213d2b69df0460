"""Lab tests of api."""
