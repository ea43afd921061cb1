"""Commands beside the server: check, collect, mirror, trim."""
