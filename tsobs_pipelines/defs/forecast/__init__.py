"""Dagster's definitions of the forecast: prices, model, forecast, evaluation, jobs."""
