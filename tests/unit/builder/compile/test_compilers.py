"""The registry of compilers, what each file answers, and the stage numbers that enter compile digests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.compile.compilers import compiler_named
from builder.compile.compilers.base import Commands, Compiler
from builder.compile.stages import combined, compile_stages
from builder.errors import ConfigError
from builder.ingredients import gather_ingredients
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.repair.repair import library_folders
from builder.settings import validate
from builder.targets import Targets
from builder.toolbox.pins import load_pins
from builder.toolbox.tools import load_toolchains
from tests.helpers.builds import RECIPE, build_for

TABLES = load_toolchains().compilers


def _compiler(name: str) -> Compiler:
    return compiler_named(name, TABLES)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("gc", "did you mean 'gcc'?"),
        ("gcc-13", "did you mean 'gcc-14'?"),
        ("zigg", "did you mean 'zig'?"),
        ("rustc", "there are gcc, gcc-14, zig"),
    ],
)
def test_an_unknown_compiler_is_refused_with_the_nearest_name(name: str, advice: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _compiler(name)
    assert str(refused.value) == f"no compiler '{name}'; {advice}"


@pytest.mark.parametrize("name", TABLES)
def test_every_compiler_has_its_parts_and_flags(name: str, targets: Targets) -> None:
    toolchains, compiler, table = load_toolchains(), _compiler(name), TABLES[name]
    assert all(compiler.family in target.compilers for target in targets.values())
    assert targets["generic"].flags(compiler.family, table.version) == (f"-mcpu={compiler.baseline_cpu}",)
    assert {*compiler.library_parts, *compiler.licence_parts} <= set(toolchains.tools)
    # The libraries that a wheel is linked with come from a part that its compile digest names.
    assert set(compiler.library_parts) <= set(table.tools)


@pytest.mark.parametrize(
    ("compiler", "target", "flag"),
    [
        ("gcc", "neoverse-v1", "-mcpu=neoverse-v1"),
        ("gcc", "neoverse-v2", "-mcpu=demeter"),
        ("gcc-14", "neoverse-v2", "-mcpu=neoverse-v2"),
        ("gcc-14", "neoverse-v3", "-mcpu=neoverse-v3"),
        ("zig", "neoverse-v3", "-mcpu=neoverse_v3"),
        ("gcc-14", "neoverse-n3", "-mcpu=neoverse-n3"),
        ("gcc-14", "ampere1b", "-mcpu=ampere1b"),
        ("gcc-14", "grace", "-mcpu=neoverse-v2"),
    ],
)
def test_a_table_may_name_the_cpu_of_a_target(
    targets: Targets, compiler: str, target: str, flag: str
) -> None:
    facts = gather_ingredients({}, load_toolchains(), load_pins()).compilers[compiler]
    assert facts.flags(targets[target]) == (flag,)


def test_a_target_that_a_compiler_does_not_know_is_refused_unless_its_table_names_a_cpu(
    targets: Targets,
) -> None:
    facts = gather_ingredients({}, load_toolchains(), load_pins()).compilers["gcc"]
    for name, since in (
        ("neoverse-v3", "14.2"),
        ("neoverse-n3", "14.2"),
        ("ampere1a", "12.3"),
        ("ampere1b", "14"),
    ):
        reason = rf"gcc 12\.2\.0 does not support {name} \(.*\); it needs gcc {since} or later"
        with pytest.raises(ConfigError, match=reason):
            facts.flags(targets[name])
    lesser = facts._replace(cpus={"neoverse-v3": "demeter"})
    assert lesser.flags(targets["neoverse-v3"]) == ("-mcpu=demeter",)


def test_stage_numbers_enter_digests_as_they_always_did() -> None:
    assert compile_stages(TABLES) == {
        "compile": 205,
        "gcc": 1,
        "gcc-14": 1,
        "bazel": 1,
        "setuptools": 1,
        "rust": 2,
        "cibuildwheel": 1,
    }


def test_different_stage_numbers_never_give_the_same_one() -> None:
    numbers = {combined(driver, wrapper) for driver in range(1, 5) for wrapper in range(100)}
    assert len(numbers) == 4 * 100
    for driver, wrapper in ((1, 100), (1, -1), (0, 1)):
        with pytest.raises(ValueError, match="cannot be combined"):
            combined(driver, wrapper)


def test_another_release_of_gcc_is_another_table(tmp_path: Path, targets: Targets) -> None:
    """A compiler of the same kind: its own programs and sysroot, the same spelling of flags."""
    table = TABLES["gcc"].model_copy(
        update={
            "version": "15.3.0",
            "part": "gnu-15",
            "sysroot": "sysroot-bookworm",
            "libstdcxx": 12,
            "licences": (),
        }
    )
    newer = compiler_named("gcc-15", {"gcc-15": table})
    scripts = newer.scripts(_wrapping(tmp_path, targets))
    assert f"{tmp_path}/gnu-15/usr/bin/aarch64-linux-gnu-g++-15" in scripts["bare-g++"]
    assert f"-isystem {tmp_path}/sysroot-bookworm/usr/include/c++/12 " in scripts["bare-g++"]
    assert f"{tmp_path}/gnu-15/usr/lib/gcc-cross/aarch64-linux-gnu/15/libgcc.a" in scripts["cc"]
    assert f"{tmp_path}/gnu/" not in "".join(scripts.values())
    assert newer.library_parts == ("sysroot-bookworm",)
    assert newer.family == _compiler("gcc").family


def test_a_recipe_without_fortran_gets_no_fortran_compiler(tmp_path: Path, targets: Targets) -> None:
    assert not [
        name for name in _compiler("gcc-14").scripts(_wrapping(tmp_path, targets)) if "fortran" in name
    ]


def test_gcc_takes_a_sysroot_that_shows_the_glibc_of_the_recipe(tmp_path: Path, targets: Targets) -> None:
    features = tmp_path / "sysroot-bullseye/usr/include/features.h"
    features.parent.mkdir(parents=True)
    features.write_text("#define __GLIBC_MINOR__ 31\n")
    (tmp_path / "sysroot-bullseye/lib/aarch64-linux-gnu").mkdir(parents=True)
    older, same = (_wrapping(tmp_path, targets, glibc) for glibc in ("2.28", "2.31"))
    gcc = _compiler("gcc")
    [copy] = gcc.folders(older.build, older.toolbox)
    assert gcc.folders(same.build, same.toolbox) == ()
    assert _compiler("zig").folders(older.build, older.toolbox) == ()
    assert f"--sysroot={copy} " in gcc.scripts(older)["bare-gcc"]
    assert f"--sysroot={tmp_path}/sysroot-bullseye " in gcc.scripts(same)["bare-gcc"]
    # What differs between the two enters the compile digest.
    assert older.build.compile_digest != same.build.compile_digest


def _wrapping(folder: Path, targets: Targets, glibc: str = "2.31") -> SimpleNamespace:
    build = {**RECIPE["build"], "compiler": "gcc", "glibc": glibc}
    recipe = validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml")
    toolbox = SimpleNamespace(ensure=lambda part: folder / part, ccache=lambda: folder, home=folder.parent)
    return SimpleNamespace(
        build=build_for(recipe, targets), toolbox=toolbox, folder=folder / "bin", tuned=True, libraries=()
    )


@pytest.mark.parametrize(("compiler", "sysroot"), [("gcc", True), ("zig", False)])
def test_libraries_are_grafted_from_the_sysroot_of_the_compiler_that_linked_them(
    tmp_path: Path, targets: Targets, compiler: str, sysroot: bool
) -> None:
    build = {**RECIPE["build"], "compiler": compiler, "libraries": ["llvm"]}
    recipe = validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml")
    for folder in ("sysroot-bullseye/lib", "userland-cp311/usr/lib", "llvm/usr/lib", "llvm/lib"):
        (tmp_path / folder / "aarch64-linux-gnu").mkdir(parents=True)
    toolbox = SimpleNamespace(ensure=lambda part: tmp_path / part, toolchains=load_toolchains())
    folders = library_folders(build_for(recipe, targets), toolbox, tmp_path)
    roots = [str(folder.relative_to(tmp_path).parent) for folder in folders]
    assert roots == ["llvm/usr/lib", "llvm/lib"] + (["sysroot-bullseye/lib"] if sysroot else [])


def test_licences_of_a_compilers_libraries_enter_the_wheel_digest_alone(targets: Targets) -> None:
    def with_licences(digit: str, compiler: str) -> Build:
        recipe = validate(
            Recipe, {**RECIPE, "build": {**RECIPE["build"], "compiler": compiler}}, origin="demo.toml"
        )
        parts = ("zig", "gnu", "sysroot-bullseye", "python-cp311", "headers-cp311", "userland-cp311", "llvm")
        digests = {**dict.fromkeys(parts, "0" * 64), "sysroot-licences": digit * 64}
        return build_for(recipe, targets, tool_digests=digests)

    one, other = with_licences("1", "gcc"), with_licences("2", "gcc")
    assert one.compile_digest == other.compile_digest
    assert one.wheel_digest != other.wheel_digest
    assert with_licences("1", "zig").wheel_digest == with_licences("2", "zig").wheel_digest


def test_zig_alone_has_something_to_do_before_the_first_link(tmp_path: Path) -> None:
    commands = Commands(**dict.fromkeys(("cc", "cxx", "ar", "ranlib", "strip"), Path("/bin/true")))
    gcc, zig = _compiler("gcc"), _compiler("zig")
    gcc.warm_up(commands, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []
    zig.warm_up(commands, {"PATH": "/bin"}, tmp_path)
    assert (tmp_path / "warm.cpp").is_file()
    toolbox = SimpleNamespace(home=tmp_path)
    assert zig.environment(toolbox)["ZIG_GLOBAL_CACHE_DIR"] == f"{tmp_path}/cache/zig"
    assert gcc.environment(toolbox) == {}
