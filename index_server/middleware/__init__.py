"""ASGI middleware that runs before pages and API."""
