"""What Dagster sees of the tailnets: journal, metrics, checks, healing."""
