"""The state machine over a store: records, sessions, snapshots, journals, evidence."""
