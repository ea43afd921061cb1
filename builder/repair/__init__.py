"""From a raw wheel to one that may be published: auditwheel, grafts, passport, SBOM."""
