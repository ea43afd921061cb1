"""Checks uploaded wheels and makes a record of each accepted one."""
