"""Looks for new versions of what recipes build, and tries each as a candidate beside the recipe that works."""
