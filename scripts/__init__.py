"""Programs for measurements and experiments, run from a clone with `python -m scripts.NAME`. None is installed."""
