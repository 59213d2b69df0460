"""A simulated tailnet and price market behind the same contracts as the real ones."""
