"""Builds, proves and publishes wheels. Talks to the index over HTTP only."""
