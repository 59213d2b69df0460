"""Lab tests of the dashboards and alerting rules for other programs."""
