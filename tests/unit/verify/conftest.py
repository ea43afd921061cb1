"""An index with two signed wheels, and the root that its clients pinned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from armwheels_verify.wanted import Wanted

from index_server.settings import ROOT, Settings, passport_validator
from index_server.targets import Target, Targets
from tests.helpers.signed import SignedIndex
from tests.helpers.stores import MemoryStore


@dataclass
class Place:
    """What a test has: an index, its root, a wheel that is shown, and folders."""

    index: SignedIndex
    root: bytes
    wheel: Wanted
    folder: Path

    def state(self, name: str = "state") -> Path:
        return self.folder / name


@pytest.fixture(scope="session")
def settings() -> Settings:
    schema = ROOT / "configs/passport.schema.json"
    targets = (
        Target("generic", "any", ("armv8-a",), ()),
        Target("neoverse-v1", "V1", ("graviton3",), ("generic",)),
    )
    return Settings(
        store="memory",
        targets=Targets(targets),
        channels={"nightly": "newest", "stable": "chosen"},
        passport=passport_validator(schema.read_text(), origin=schema),
    )


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Place:
    folder = tmp_path / "index"
    folder.mkdir()
    index = SignedIndex(MemoryStore(), settings, folder)
    root = index.sign_root()
    index.upload(recipe="other", wheel_digest="a" * 64)
    filename, sha256 = index.upload()
    return Place(index, root, Wanted("demo", sha256, filename), tmp_path)
