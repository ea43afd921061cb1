"""Compares wheels with PyPI's wheel of the same version: size, libraries, and the cost of workloads.

Under emulation, the cost is the number of instructions, which our qemu plugin counts, and an estimate of core
cycles. On an Arm machine, it is time.
"""
