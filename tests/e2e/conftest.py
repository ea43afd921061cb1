"""The real toolbox, a small matrix of its own, and an index on loopback for the end-to-end tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.settings import home_dir
from builder.toolbox.toolbox import Toolbox
from tests.helpers.places import Place, Served, make_place


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    """The project's own toolbox; what is missing of it is fetched."""
    box = Toolbox(home=home_dir())
    for part in ("zig", "gnu", "gnu-14", "sysroot-bullseye", "ccache", "qemu", "llvm", "pip"):
        box.ensure(part)
    for kind in ("python", "headers", "userland"):
        box.ensure(f"{kind}-cp311")
    return box


@pytest.fixture(scope="session")
def llvm_mc(toolbox: Toolbox) -> Path:
    return toolbox.llvm_mc()


@pytest.fixture
def place(tmp_path: Path, toolbox: Toolbox) -> Place:
    """A place with nothing built and nothing published."""
    return make_place(tmp_path, toolbox)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, toolbox: Toolbox) -> Iterator[Served]:
    """One real cross-compile, published by `armwheels nightly` and served on loopback."""
    place = make_place(tmp_path_factory.mktemp("served"), toolbox)
    done = place.run("armwheels", "nightly", "--matrix", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    ready = place.home / "ready"
    server = place.start("armwheels-index", "serve", "--port", "0", "--ready-file", str(ready))
    try:
        deadline = time.monotonic() + 180  # the machine may be compiling, too
        while not ready.is_file():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Served(place=place, url=ready.read_text().strip().rstrip("/"), output=done.stdout)
    finally:
        server.terminate()
        server.wait(timeout=20)
