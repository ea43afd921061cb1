"""The state of the index in a store: records, sessions, snapshots, journals, evidence, leases."""
