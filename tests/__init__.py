"""The tests, grouped by what they need: see `CLAUDE.md`."""
