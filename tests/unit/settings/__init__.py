"""Tests of the settings: values, addresses, files and the file of tailnets."""
