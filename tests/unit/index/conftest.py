"""What the index's unit tests share: targets, settings, stores of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from index_server.settings import ROOT, Settings, passport_validator
from index_server.store.folder import DirectoryStore
from index_server.store.interface import ObjectStore
from index_server.targets import Targets
from scripts.seaweed import Seaweed
from tests.helpers.stores import MemoryStore, moto_store, seaweed_store

TARGETS = {
    "generic": {"description": "any", "aliases": ["armv8-a"], "also_runs": []},
    "neoverse-n1": {"description": "N1", "aliases": ["graviton2"], "also_runs": ["generic"]},
    "neoverse-v1": {
        "description": "V1",
        "aliases": ["graviton3"],
        "also_runs": ["neoverse-n1", "generic"],
        "flags": ["for the builder alone"],
    },
}
STORE_KINDS = ["directory", "memory", "moto"]


@pytest.fixture(scope="session")
def targets() -> Targets:
    return Targets.from_mapping(TARGETS)


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


@pytest.fixture(params=[*STORE_KINDS, pytest.param("seaweed", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, make_store: Callable[[str], ObjectStore]) -> ObjectStore:
    return make_store(request.param)
