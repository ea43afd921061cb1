"""The object store: its interface, and implementations for a folder and for an S3 bucket."""
