"""The sidecar's data and their interpretation: client, ping parsing, path, journal."""
