"""Answers to reads outside /api/: simple pages, files, pages for people."""
