"""Answers reads outside /api/: simple pages, files, and pages for people."""
