"""The processes of ``make up``: the supervisor, Dagster's home, the run workers and their reaper.

What belongs here: how runs are executed and parts are kept alive. What does not: what a run does.
"""
