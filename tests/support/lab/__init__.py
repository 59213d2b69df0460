"""The lab: a real tailnet, InfluxDB 2, Postgres and Redis on one machine, for tests and for people.

`python -m tests.support.lab up` starts tailnet and InfluxDB and prints the settings that point tsobs at them;
the pytest fixtures are in `tests/lab/conftest.py`.
"""
