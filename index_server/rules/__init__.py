"""Pure rules: what a view shows, what gates ask, what is kept, what marks and leases mean."""
