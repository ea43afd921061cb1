"""Keeps wheels in an object store and serves them as a PEP 503 index."""
