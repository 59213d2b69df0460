"""What Dagster sees of housekeeping."""
