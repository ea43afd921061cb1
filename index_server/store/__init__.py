"""Objects by key: the interface, a folder, an S3 bucket."""
