"""``tsobs doctor``: is everything there that tsobs depends on, and if not, what to do."""
