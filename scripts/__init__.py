"""Programs for measuring and trying, run from a clone: `python -m scripts.NAME`. None of them is installed."""
