"""Time series: the schema of every measurement, and one store interface with an InfluxDB and a SQL backend.

What belongs here: rows with a time, their schema, and how they are kept. What does not: what a row means.
"""
