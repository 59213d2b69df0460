"""HTTP serving shared by the API and the guard around Dagster's webserver."""
