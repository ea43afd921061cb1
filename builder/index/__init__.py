"""The client side of the index: HTTP, a local server for a run, publishing."""
