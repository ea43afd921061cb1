"""A real server on loopback, and another on the same store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "index"))  # the makers of wheels
sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))  # SeaweedFS

from index_processes import Server, start, stop


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = start(tmp_path)
    yield running
    stop(running)


@pytest.fixture
def second(server: Server) -> Iterator[Server]:
    """Another server on the same store."""
    running = start(server.home)
    yield running
    stop(running)
