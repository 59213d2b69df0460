"""JSON logs: the formatter, the set-up of every process, and the search."""
