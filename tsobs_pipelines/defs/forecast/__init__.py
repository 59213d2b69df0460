"""What Dagster sees of the forecast: prices, model, forecast, evaluation, jobs."""
