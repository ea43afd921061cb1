"""rustc's wrapper, cargo's variables and where crates come from; the wrapper runs over a rustc that prints."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.compile.compilers.base import Commands
from builder.compile.rust import (
    check_crates,
    named_registry,
    read_crates,
    rust_variables,
    target_cpu,
    write_rust,
)
from builder.digests import RustFacts
from builder.errors import CompileError, ConfigError
from builder.model.recipe import Recipe
from builder.model.toolchains import RustTool
from builder.model.units import Unit
from builder.settings import validate
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for, ingredients_for

FACTS = RustFacts("1.96.0", ("rust", "rust-std", "zig"), None)
DIGESTS = dict.fromkeys(("rust", "rust-std"), "c" * 64)


@pytest.fixture(autouse=True)
def _no_cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CARGO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "cargo-home"))


def rust_recipe(crates: str = "vendored", frontend: str = "maturin") -> Recipe:
    build = {**RECIPE["build"], "frontend": frontend, "options": [], "rust": {"crates": crates}}
    return validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml")


def rust_build(targets: Targets, target: str = "neoverse-v1", crates: str = "vendored") -> Any:
    recipe = rust_recipe(crates)
    facts = ingredients_for(recipe)
    return build_for(
        recipe,
        targets,
        target,
        rust=FACTS,
        stages={**facts.stages, "rust": 1},
        tool_digests={**facts.tool_digests, **DIGESTS},
    )


@pytest.fixture
def toolbox(tmp_path: Path) -> Any:
    rustc = tmp_path / "rust/usr/bin/rustc"
    rustc.parent.mkdir(parents=True)
    rustc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    rustc.chmod(0o755)
    return SimpleNamespace(
        home=tmp_path,
        ensure=lambda part: tmp_path / part,
        zig=lambda: tmp_path / "zig",
        python_headers=lambda _: tmp_path / "headers",
        toolchains=SimpleNamespace(rust=RustTool(version="1.96.0", part="rust", library="rust-std")),
    )


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    assembler = tmp_path / "cc"
    assembler.write_text('#!/bin/sh\n: > "$4"\n')
    assembler.chmod(0o755)
    return Commands(**dict.fromkeys(("cc", "cxx", "ar", "ranlib", "strip"), assembler))


@pytest.fixture
def rustc(tmp_path: Path, toolbox: Any, commands: Commands, targets: Targets) -> Path:
    work = tmp_path / "work"
    (work / "bin").mkdir(parents=True)
    write_rust(rust_build(targets), commands, toolbox, work, dict(os.environ))
    return work / "bin/rustc"


def call(rustc: Path, *arguments: str) -> list[str]:
    done = subprocess.run([str(rustc), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "target", ["--target=aarch64-unknown-linux-gnu", "--target aarch64-unknown-linux-gnu"]
)
def test_crates_for_the_target_are_tuned_after_all_other_flags(rustc: Path, target: str) -> None:
    asked = [
        "--crate-name",
        "demo",
        "src/lib.rs",
        *target.split(),
        "-C",
        "opt-level=3",
        "-C",
        "target-cpu=native",
    ]
    passed = call(rustc, *asked)
    assert passed[:2] == ["--sysroot", str(rustc.parents[1] / "rust/sysroot")]
    assert passed[2:-8] == asked
    assert passed[-8:-4] == ["-C", "target-cpu=neoverse-v1", "-C", f"link-arg={rustc.parents[1]}/rust/3.o"]
    assert read_crates(rustc.parents[1]) == (Unit(unit="crate demo", level="-O3", ndebug=True),)


def test_build_scripts_are_compiled_for_this_machine(rustc: Path) -> None:
    passed = call(rustc, "--crate-name", "build_script_build", "build.rs", "-C", "opt-level=0")
    assert passed[2:] == ["--crate-name", "build_script_build", "build.rs", "-C", "opt-level=0"]
    assert read_crates(rustc.parents[1]) == ()


def test_questions_of_cargo_see_the_target_and_are_no_crate(rustc: Path) -> None:
    passed = call(rustc, "-", "--crate-name", "___", "--print=cfg", "--target", "aarch64-unknown-linux-gnu")
    assert "target-cpu=neoverse-v1" in passed
    assert read_crates(rustc.parents[1]) == ()


def test_a_crate_counts_with_its_weakest_level(rustc: Path) -> None:
    for level, assertions in (("3", "off"), ("0", "on"), ("s", "off")):
        call(
            rustc,
            *("--crate-name", "demo", "--target=aarch64-unknown-linux-gnu"),
            *(f"-Copt-level={level}", "-C", f"debug-assertions={assertions}"),
        )
    assert read_crates(rustc.parents[1]) == (Unit(unit="crate demo", level="-O0", ndebug=False),)


def test_the_record_names_rustc_and_the_flag_that_the_audit_expects(rustc: Path) -> None:
    text = (rustc.parents[1] / "rust/3.s").read_text()
    assert '.asciz "rustc 1.96.0 -mcpu=neoverse_v1 -O3"' in text


def test_vendored_crates_are_built_offline_and_without_the_users_settings(
    tmp_path: Path, toolbox: Any, commands: Commands, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO_REGISTRIES_OWN_INDEX", "sparse+https://crates.example/")
    given = rust_variables(rust_build(targets), commands, toolbox, tmp_path / "work", tmp_path / "python")
    assert given["CARGO_NET_OFFLINE"] == "true"
    assert given["CARGO_HOME"] == str(tmp_path / "work/cargo")
    assert "CARGO_REGISTRIES_OWN_INDEX" not in given
    assert given["CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"] == str(commands.cc)


def test_a_registry_is_the_users_own(
    tmp_path: Path, toolbox: Any, commands: Commands, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO_REGISTRIES_OWN_INDEX", "sparse+https://crates.example/")
    build = rust_build(targets, crates="registry")
    given = rust_variables(build, commands, toolbox, tmp_path / "work", tmp_path / "python")
    assert given["CARGO_HOME"] == str(tmp_path / "cargo-home")
    assert given["CARGO_REGISTRIES_OWN_INDEX"] == "sparse+https://crates.example/"
    assert "CARGO_NET_OFFLINE" not in given


def test_recipes_without_rust_get_no_variables(
    tmp_path: Path, toolbox: Any, commands: Commands, recipe: Recipe, targets: Targets
) -> None:
    assert rust_variables(build_for(recipe, targets), commands, toolbox, tmp_path, tmp_path) == {}


def test_a_registry_is_named_by_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_registry() is None
    config = tmp_path / "cargo-home/config.toml"
    config.parent.mkdir()
    config.write_text("[build]\njobs = 2\n")
    assert named_registry() is None
    config.write_text('[source.crates-io]\nreplace-with = "own"\n')
    assert named_registry() == str(config)
    monkeypatch.setenv("CARGO_REGISTRY_DEFAULT", "own")
    assert named_registry() == "CARGO_REGISTRY_DEFAULT"


def test_crates_are_looked_for_before_the_build(tmp_path: Path) -> None:
    check_crates(tmp_path, "vendored", "demo 1.0")  # a crate that needs no other has no lock, or an empty one
    (tmp_path / "Cargo.lock").write_text('[[package]]\nname = "demo"\n')
    check_crates(tmp_path, "vendored", "demo 1.0")
    (tmp_path / "Cargo.lock").write_text('[[package]]\nname = "itoa"\nsource = "registry+https://example/"\n')
    with pytest.raises(CompileError, match=r"demo 1\.0 has no vendored crates"):
        check_crates(tmp_path, "vendored", "demo 1.0")
    check_crates(tmp_path, "registry", "demo 1.0")
    config = tmp_path / ".cargo/config.toml"
    config.parent.mkdir()
    config.write_text('[source.vendored]\ndirectory = "include/cargo"\n')
    with pytest.raises(CompileError, match="no vendored crates"):
        check_crates(tmp_path, "vendored", "demo 1.0")
    (tmp_path / "include/cargo").mkdir(parents=True)
    check_crates(tmp_path, "vendored", "demo 1.0")


@pytest.mark.parametrize(
    ("tool", "lock"),
    [
        ('[[tool.setuptools-rust.ext-modules]]\npath = "src/native/Cargo.toml"\n', "src/native/Cargo.lock"),
        ('[[tool.setuptools-rust.ext-modules]]\npath = "src/native/Cargo.toml"\n', "src/Cargo.lock"),
        ('[[tool.setuptools-rust.bins]]\npath = "native/Cargo.toml"\n', "native/Cargo.lock"),
        ('[tool.maturin]\nmanifest-path = "native/Cargo.toml"\n', "native/Cargo.lock"),
    ],
)
def test_the_lock_of_a_crate_below_the_top_is_found(tmp_path: Path, tool: str, lock: str) -> None:
    (tmp_path / "pyproject.toml").write_text(tool)
    path = tmp_path / lock
    path.parent.mkdir(parents=True)
    path.write_text('[[package]]\nname = "itoa"\nsource = "registry+https://example/"\n')
    with pytest.raises(CompileError, match=rf"no vendored crates, which its {lock} names"):
        check_crates(tmp_path, "vendored", "demo 1.0")
    (tmp_path / "examples").mkdir()
    path.rename(tmp_path / "examples/Cargo.lock")  # of a crate that the build does not compile
    check_crates(tmp_path, "vendored", "demo 1.0")


@pytest.mark.parametrize(
    ("flag", "cpu"),
    [
        ("-mcpu=neoverse_v1", "neoverse-v1"),
        ("-mcpu=neoverse-n1", "neoverse-n1"),
        ("-mcpu=generic", "generic"),
    ],
)
def test_rustc_has_llvms_names(flag: str, cpu: str) -> None:
    assert target_cpu((flag,)) == cpu


def test_rust_enters_the_digest(targets: Targets) -> None:
    inputs = rust_build(targets).compile_inputs
    assert inputs["rust"] == [1, "1.96.0", "vendored"]
    assert {"rust", "rust-std"} <= inputs["toolchain"].keys()


@pytest.mark.parametrize(
    "build",
    [{"frontend": "maturin"}, {"frontend": "setuptools", "rust": {"crates": "vendored"}}],
)
def test_the_frontend_and_the_table_need_each_other(build: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="need each other"):
        validate(Recipe, {**RECIPE, "build": {**RECIPE["build"], **build}}, origin="demo.toml")
