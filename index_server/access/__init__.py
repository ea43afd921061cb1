"""Access control: tokens, tokens for reading, and the rate of uploads."""
