"""Wheels side by side with PyPI's of the same version: size, libraries, and what their workloads cost.

Under emulation the cost is instructions, counted by a plugin of our own; on a real Arm machine it is time.
"""
