"""Lab tests of sidecar."""
