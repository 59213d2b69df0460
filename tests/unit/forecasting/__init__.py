"""Unit tests of forecasting."""
