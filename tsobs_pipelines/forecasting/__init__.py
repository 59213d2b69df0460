"""Electricity prices, the Prophet model, its evaluation and the metrics history."""
