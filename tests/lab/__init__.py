"""Tests on a real tailnet, InfluxDB 2, Postgres, Redis and browser, which ``tests/support/lab/`` starts."""
