"""``tsobs doctor``: is everything there that tsobs depends on, and if not, what to do.

What belongs here: looks that change nothing (no message is sent, no row is written). What does not: the
watching of a running system, which is the alerts'.
"""
