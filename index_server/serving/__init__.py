"""The HTTP server: the listening socket, the limits of each connection, start and stop."""
