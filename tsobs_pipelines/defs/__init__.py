"""All that Dagster sees, by domain.

What belongs here: assets, checks, jobs, schedules, sensors and resources as thin shells over the domains.
What does not: anything that can be tested without Dagster.
"""
