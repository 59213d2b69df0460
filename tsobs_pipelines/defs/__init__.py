"""All that Dagster sees, by domain."""
