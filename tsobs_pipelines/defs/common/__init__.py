"""Partitions, resources and clock that the definitions of several domains use."""
