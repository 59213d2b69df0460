"""Rules, alert state, messages, Telegram and the outbox.

What belongs here: what fires, when, and how it is told exactly once. What does not: Dagster, and how the
data under a rule came about.
"""
