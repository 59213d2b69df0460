"""The HTTP server that the API and the webserver share, on real sockets."""
