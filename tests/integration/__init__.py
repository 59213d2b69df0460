"""Tests of several parts together, without root and servers."""
