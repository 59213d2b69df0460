"""Tests of ``tsobs up`` as a whole."""
