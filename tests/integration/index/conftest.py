"""A real server on loopback, and another on the same store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.servers import Server, start, stop


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
