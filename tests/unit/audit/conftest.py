"""A decoder that needs no llvm-mc, and the targets."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from recorded_decoder import RecordedDecoder

from builder import targets

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def decoder() -> RecordedDecoder:
    return RecordedDecoder()


@pytest.fixture(scope="session")
def cpus() -> targets.Targets:
    return targets.load(tomllib.loads((ROOT / "configs" / "targets.toml").read_text(encoding="utf-8")))
