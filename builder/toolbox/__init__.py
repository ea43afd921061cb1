"""Fetches compilers, Pythons, sysroots and emulators without root, pinned and hashed."""
