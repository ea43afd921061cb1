"""A decoder that needs no llvm-mc, and the targets."""

from __future__ import annotations

import pytest

from builder import targets
from builder.settings import configs_dir, read_toml
from tests.helpers.recorded_decoder import RecordedDecoder


@pytest.fixture(scope="session")
def decoder() -> RecordedDecoder:
    return RecordedDecoder()


@pytest.fixture(scope="session")
def cpus() -> targets.Targets:
    return targets.load(read_toml(configs_dir() / "targets.toml"))
