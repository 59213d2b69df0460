"""Unit tests of the HTTP server that the API and the webserver share."""
