"""Electricity prices, the Prophet model, its evaluation and the metrics history.

What belongs here: everything about the forecast that a statistician would ask for. What does not: alerts
and Dagster.
"""
