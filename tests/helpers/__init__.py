"""What several tests share: makers of wheels and records, stores, servers, small builds."""

from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
