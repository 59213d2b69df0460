"""The processes of ``make up``: supervisor, fork server, and the parts that are forked from it."""
