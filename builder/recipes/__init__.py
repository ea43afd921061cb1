"""Writes and renews recipes from what an index and a source distribution say about a project."""
