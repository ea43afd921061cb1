"""The HTTP API below /api/ and /upload/, with FastAPI."""
