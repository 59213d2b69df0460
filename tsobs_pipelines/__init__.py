"""tsobs: watches a Tailscale network and a price forecast for a small team."""
