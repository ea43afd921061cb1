"""The real toolbox, a small matrix of its own, and an index on loopback for the end-to-end tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.settings import ROOT, home_dir
from builder.toolbox.toolbox import Toolbox

BIN = Path(sys.executable).parent

MATRICES = """
[tiny]
description = "one small wheel"
[[tiny.cells]]
recipe = "msgpack"
versions = ["1.2.4"]
pythons = ["cp311"]
targets = ["neoverse-v1"]
backends = ["none"]
required = true

[pair]
description = "two small wheels"
[[pair.cells]]
recipe = "msgpack"
versions = ["1.2.4"]
pythons = ["cp311"]
targets = ["neoverse-v1", "generic"]
backends = ["none"]
required = true
"""


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    """The project's own toolbox; what is missing of it is fetched."""
    box = Toolbox(home=home_dir())
    for part in ("zig", "gnu", "sysroot-bullseye", "ccache", "qemu", "llvm", "pip"):
        box.ensure(part)
    for kind in ("python", "headers", "userland"):
        box.ensure(f"{kind}-cp311")
    return box


@pytest.fixture(scope="session")
def llvm_mc(toolbox: Toolbox) -> Path:
    return toolbox.llvm_mc()


@dataclass(frozen=True, kw_only=True)
class Place:
    """A state folder and configuration of a test's own, over the shared toolbox."""

    home: Path
    configs: Path
    folder: Path | None = None
    store: Mapping[str, str] = field(
        default_factory=dict
    )  # variables that name another store than the folder

    @property
    def environment(self) -> dict[str, str]:
        dropped = ("ARMWHEELS_", "COLUMNS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        own = {"ARMWHEELS_HOME": str(self.home), "ARMWHEELS_CONFIGS": str(self.configs), "COLUMNS": "140"}
        return {**kept, **own, **self.store}

    def run(
        self, *command: str, timeout: float = 600, extra: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the two commands, with ``extra`` variables, and capture what it says."""
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            env={**self.environment, **(extra or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own. Ctrl-C stops it even where the tests ignore it."""
        return subprocess.Popen(
            ["env", "--default-signal=INT", str(BIN / command[0]), *command[1:]],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wheels(self) -> list[Path]:
        return sorted(self.home.glob("out/wheels/[0-9a-f]*/*.whl"))

    def snapshots(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted(self.home.glob("store/snapshots/*.json"))]

    def journal(self) -> list[Path]:
        return sorted(self.home.glob("store/journal/nightly/*.json"))


def make_place(folder: Path, toolbox: Toolbox) -> Place:
    home, configs = folder / "home", folder / "configs"
    home.mkdir(parents=True)
    for shared in ("toolbox", "downloads"):
        (home / shared).symlink_to(toolbox.home / shared)
    shutil.copytree(ROOT / "configs", configs)
    with (configs / "matrices.toml").open("a", encoding="utf-8") as matrices:
        matrices.write(MATRICES)
    return Place(home=home, configs=configs)


@pytest.fixture
def place(tmp_path: Path, toolbox: Toolbox) -> Place:
    """A place with nothing built and nothing published."""
    return make_place(tmp_path, toolbox)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A place whose matrix `tiny` has been published, and the address it is served at."""

    place: Place
    url: str
    said: str

    def simple(self, target: str = "neoverse-v1") -> str:
        return f"{self.url}/nightly/{target}/simple/"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, toolbox: Toolbox) -> Iterator[Served]:
    """One real cross-compile, published by `armwheels nightly` and served on loopback."""
    place = make_place(tmp_path_factory.mktemp("served"), toolbox)
    done = place.run("armwheels", "nightly", "--matrix", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    ready = place.home / "ready"
    server = place.start("armwheels-index", "serve", "--port", "0", "--ready-file", str(ready))
    try:
        deadline = time.monotonic() + 30
        while not ready.is_file():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Served(place=place, url=ready.read_text().strip().rstrip("/"), said=done.stdout)
    finally:
        server.terminate()
        server.wait(timeout=20)
