"""Lab tests of timeseries."""
