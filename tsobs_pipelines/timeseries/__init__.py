"""Time series: the schema of every measurement, and one store interface with two backends (InfluxDB, SQL)."""
