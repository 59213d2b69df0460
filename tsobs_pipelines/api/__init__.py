"""The HTTP API and the VPN page."""
