"""The forecast models: one module each, behind the interface of ``interface.py``."""

DEFAULT_MODEL = "prophet_price_forecast"
"""The model that is meant when none is named; its keys and sensors carry no model's name."""
