"""What keeps tsobs its size: what may go, how files are made smaller, what the disk holds.

What belongs here: rules and file work that know neither Dagster nor the domains. What does not: Dagster's own
storage (``dagster_storage/history.py``), and when any of it runs (``defs/housekeeping.py``).
"""
