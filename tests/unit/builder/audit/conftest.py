"""A decoder that needs no llvm-mc, and the targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import targets
from builder.cpus import load_targets
from tests.helpers.auditor import Auditor
from tests.helpers.recorded_decoder import RecordedDecoder


@pytest.fixture(scope="session")
def decoder() -> RecordedDecoder:
    return RecordedDecoder()


@pytest.fixture(scope="session")
def cpus() -> targets.Targets:
    return load_targets()


@pytest.fixture
def audit(cpus: targets.Targets, decoder: RecordedDecoder, tmp_path: Path) -> Auditor:
    return Auditor(cpus, decoder, tmp_path)
