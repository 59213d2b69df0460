"""``tsobs doctor``: checks every dependency of tsobs, and says how to fix what is wrong."""
