"""The tests, by what they need: see `CLAUDE.md`."""
