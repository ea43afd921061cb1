"""Signs what the index shows: TUF metadata over channels and yanks, made with keys that the operator holds."""
