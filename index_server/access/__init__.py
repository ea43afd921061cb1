"""Who may do what: tokens, the gate before reads, the upload rate."""
