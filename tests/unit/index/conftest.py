"""What the index's unit tests share: targets, settings, stores of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from index_server.settings import ROOT, Settings, passport_validator
from index_server.store.folder import DirectoryStore
from index_server.store.interface import ObjectStore
from index_server.targets import Target, Targets
from scripts.seaweed import Seaweed
from tests.helpers.stores import STORE_KINDS, MemoryStore, moto_store, seaweed_store

TARGETS = (
    Target("generic", "any", ("armv8-a",), ()),
    Target("neoverse-n1", "N1", ("graviton2",), ("generic",)),
    Target("neoverse-v1", "V1", ("graviton3",), ("neoverse-n1", "generic")),
)


@pytest.fixture(scope="session")
def targets() -> Targets:
    return Targets(TARGETS)


@pytest.fixture(scope="session")
def settings(targets: Targets) -> Settings:
    schema = ROOT / "configs" / "passport.schema.json"
    return Settings(
        store="memory",
        targets=targets,
        channels={"nightly": "newest", "stable": "chosen"},
        passport=passport_validator(schema.read_text(), origin=schema),
    )


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One SeaweedFS for all tests; each takes a prefix of its own."""
    running = Seaweed(tmp_path_factory.mktemp("seaweed"))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def make_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], ObjectStore]]:
    with ExitStack() as ends:

        def make(kind: str) -> ObjectStore:
            if kind == "directory":
                return DirectoryStore(tmp_path / "store")
            if kind == "moto":
                return ends.enter_context(moto_store(tmp_path / "scratch"))
            if kind == "seaweed":
                return seaweed_store(request.getfixturevalue("seaweed"), tmp_path / "scratch")
            return MemoryStore()

        yield make


@pytest.fixture(params=STORE_KINDS)
def store(request: pytest.FixtureRequest, make_store: Callable[[str], ObjectStore]) -> ObjectStore:
    return make_store(request.param)
