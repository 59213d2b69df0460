"""What Dagster sees of the alerts: assets, sensors, the watch for silence."""
