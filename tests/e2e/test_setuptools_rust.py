"""A package built by setuptools-rust: its one dependency from its own source, and from the user's registry."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from builder.compile.units import read_record
from builder.cpus import load_targets
from builder.errors import ConfigError
from builder.ingredients import gather_ingredients
from builder.load import load_recipes
from builder.model.build import Build
from builder.model.matrix import Cells, Matrix
from builder.plan import make_builds
from builder.toolbox.toolbox import Toolbox
from builder.workshop import Workshop
from tests.helpers.places import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

INDEX = "registry+https://github.com/rust-lang/crates.io-index"
CRATE = {
    "Cargo.toml": '[package]\nname = "triangle"\nversion = "1.0.0"\nedition = "2021"\n',
    "src/lib.rs": "pub fn triangle(n: i64) -> i64 {\n    (1..=n).sum()\n}\n",
}
PACKAGE = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools", "setuptools-rust"]
build-backend = "setuptools.build_meta"
[project]
name = "rust-demo"
version = "1.0"
[tool.setuptools]
packages = ["rust_demo"]
[[tool.setuptools-rust.ext-modules]]
target = "rust_demo.native"
path = "native/Cargo.toml"
binding = "NoBinding"
""",
    "rust_demo/__init__.py": """
import ctypes, pathlib
[path] = pathlib.Path(__file__).parent.glob("native*.so")
triangle = ctypes.CDLL(str(path)).rust_demo_triangle
triangle.argtypes, triangle.restype = [ctypes.c_int64], ctypes.c_int64
""",
    "native/Cargo.toml": """
[package]
name = "rust-demo"
version = "1.0.0"
edition = "2021"
[lib]
crate-type = ["cdylib"]
[dependencies]
triangle = "1"
""",
    "native/src/lib.rs": """
#[no_mangle]
pub extern "C" fn rust_demo_triangle(n: i64) -> i64 {
    triangle::triangle(n)
}
""",
}
LOCK = f"""
version = 3

[[package]]
name = "rust-demo"
version = "1.0.0"
dependencies = ["triangle"]

[[package]]
name = "triangle"
version = "1.0.0"
source = "{INDEX}"
checksum = "{{checksum}}"
"""
RECIPE = """
name = "rust-demo"
about = "a small package"
build_number = 1
[versions."1.0"]
epoch = 1700000000
source = {{ kind = "folder", path = "{folder}" }}
[build]
frontend = "setuptools-rust"
compiler = "gcc"
glibc = "2.28"
requires = ["build", "setuptools", "wheel", "setuptools-rust"]
rust = {{ crates = "{crates}" }}
[backends.none]
default = true
[verify]
script = "{script}"
"""
SCRIPT = """
from kit import report
def check():
    import rust_demo
    return rust_demo.triangle(1000) == 500500, "triangle of 1000"
report({"triangle": check})
"""
REPLACED = '[source.crates-io]\nreplace-with = "own"\n\n[source.own]\ndirectory = "{folder}"\n'


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.lstrip(), encoding="utf-8")


def _vendored(folder: Path) -> str:
    """A directory source with the crate (The Cargo Book, "Source Replacement"); returns the crate's checksum."""
    _write(folder / "triangle", CRATE)
    files = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in CRATE.items()}
    package = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    checksums = json.dumps({"files": files, "package": package})
    (folder / "triangle/.cargo-checksum.json").write_text(checksums, encoding="utf-8")
    return package


def _build(place: Place, folder: Path, crates: str) -> tuple[Workshop, Build]:
    recipe = RECIPE.format(folder=folder, crates=crates, script="rust_demo_wheel.py")
    (place.configs / "recipes/rust-demo.toml").write_text(recipe, encoding="utf-8")
    locks = place.configs / "locks"
    shutil.copyfile(locks / "bcrypt-build-cp313.txt", locks / "rust-demo-build-cp313.txt")
    workshop = Workshop(Toolbox(home=place.home), load_targets())
    recipes = load_recipes()
    cells = Cells(
        recipe="rust-demo",
        versions=("1.0",),
        pythons=("cp313",),
        targets=("neoverse-v1",),
        backends=("none",),
    )
    [build] = make_builds(
        Matrix(description="one", cells=(cells,)),
        recipes,
        workshop.targets,
        gather_ingredients(recipes, workshop.toolbox.toolchains, workshop.toolbox.pins),
    )
    return workshop, build


@pytest.mark.parametrize("crates", ["vendored", "registry"])
def test_it_is_built_for_the_target_and_runs(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crates: str
) -> None:
    folder, user = tmp_path / "rust-demo", tmp_path / "user"
    _write(folder, PACKAGE)
    checksum = _vendored(folder / "vendor" if crates == "vendored" else user / "crates")
    _write(folder, {"native/Cargo.lock": LOCK.format(checksum=checksum)})
    own = tmp_path / "recipes"
    _write(own, {"rust_demo_wheel.py": SCRIPT})
    for name in [name for name in os.environ if name.startswith("CARGO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CARGO_HOME", str(user))
    monkeypatch.setenv("ARMWHEELS_CONFIGS", str(place.configs))
    monkeypatch.setenv("ARMWHEELS_HOME", str(place.home))
    monkeypatch.setenv("ARMWHEELS_RECIPES", str(own))
    if crates == "vendored":
        _write(folder, {".cargo/config.toml": REPLACED.format(folder="vendor")})
    else:
        with pytest.raises(ConfigError, match="name a registry in your own configuration of cargo"):
            _build(place, folder, crates)
        _write(user, {"config.toml": REPLACED.format(folder=user / "crates")})
    workshop, build = _build(place, folder, crates)
    built = workshop.build(build, lambda *_: None)
    assert [verdict for verdict in built.audit.verdicts if verdict.outcome == "fail"] == []
    record = read_record(workshop.compiled_folder(build))
    assert record is not None
    assert {unit.unit for unit in record.units} >= {"crate rust_demo", "crate triangle"}
    run = workshop.verify(build, built.path, lambda *_: None)
    assert run.passed, run
