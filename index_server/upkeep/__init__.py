"""Maintenance commands, which may run while servers do: check, collect and mirror."""
