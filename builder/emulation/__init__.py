"""Runs wheels on emulated CPUs."""
