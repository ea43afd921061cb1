"""OCI images of published wheels: a Python userland, and wheels of one snapshot for one CPU."""
