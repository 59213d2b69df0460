"""Retention, backups, compaction of files, and disk use."""
