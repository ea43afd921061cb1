"""The HTTP contract below /api/ and /upload/, by FastAPI."""
