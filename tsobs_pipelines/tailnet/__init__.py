"""What the sidecar says and what it means: client, ping parsing, path, journal.

What belongs here: the forms Tailscale and the journal use, and pure functions over them. What does not:
storage, alerts, Dagster.
"""
