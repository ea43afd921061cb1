"""Checks the bytes of an upload and makes a record of them."""
