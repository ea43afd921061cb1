"""From a raw wheel to one that may be published: auditwheel, passport, SBOM and licences."""
