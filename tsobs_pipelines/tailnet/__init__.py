"""What the sidecar says and what it means: client, ping parsing, path, journal."""
