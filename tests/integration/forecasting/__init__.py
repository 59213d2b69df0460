"""Integration tests of forecasting."""
