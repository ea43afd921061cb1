"""ASGI middleware in front of pages and API."""
