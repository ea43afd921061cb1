"""Pins, unpacking and the shipped lock; what needs a mirror runs in the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ConfigError
from builder.model.toolchains import Toolchains
from builder.settings import validate
from builder.toolbox.pins import PinnedFile, Pins, asked_of, debian_parts, load_pins, stale_parts
from builder.toolbox.tools import load_toolchains
from builder.toolbox.unpack import add_lib_folder, make_symlinks_relative


def _file(name: str, digit: str) -> PinnedFile:
    return PinnedFile(name=name, version="1", sha256=digit * 64, path=f"pool/{name}_1.deb")


def test_a_parts_digest_names_its_files_and_not_their_order() -> None:
    one = Pins(parts={"gnu": (_file("a", "1"), _file("b", "2"))})
    turned = Pins(parts={"gnu": (_file("b", "2"), _file("a", "1"))})
    other = Pins(parts={"gnu": (_file("a", "1"), _file("b", "3"))})
    assert one.digest("gnu") == turned.digest("gnu") != other.digest("gnu")


def test_an_unpinned_part_says_how_to_pin_it() -> None:
    with pytest.raises(ConfigError, match="armwheels lock --refresh"):
        Pins(parts={}).digest("zig")


def test_the_lock_pins_every_package_of_the_toolchains() -> None:
    toolchains, pins = load_toolchains(), load_pins()
    for name, suites in debian_parts(toolchains).items():
        wanted = {package for part in suites for package in part.packages}
        pinned = {file.name for file in pins.files(name)}
        closed = any(part.installed is not None for part in suites)
        assert pinned >= wanted if closed else pinned == wanted, name
    assert not stale_parts(toolchains, pins)
    for name in toolchains.tools:
        assert pins.files(name)
    for compiler in toolchains.compilers.values():
        assert all(tool in toolchains.tools for tool in compiler.tools)


def test_a_part_is_stale_when_the_toolchains_ask_for_something_else() -> None:
    toolchains = load_toolchains()
    asked = asked_of(toolchains)
    pins = Pins(parts=dict.fromkeys(asked, ()), asked={**asked, "zig": "0" * 64})
    assert stale_parts(toolchains, pins) == {"zig"}
    assert stale_parts(toolchains, Pins(parts={"llvm": ()})) == {"llvm"}


def test_a_closure_depends_on_what_it_stands_on() -> None:
    def asked(base: list[str]) -> str:
        part = {"kind": "debian", "about": "a", "suite": "bullseye", "architecture": "arm64"}
        data = {
            "tools": {
                "base": {**part, "packages": base},
                "yaml": {**part, "packages": ["libyaml-dev"], "closure_beside": "base"},
            },
            "pythons": {},
            "compilers": {},
        }
        return asked_of(validate(Toolchains, data, origin="t"))["yaml"]

    assert asked(["libc6"]) != asked(["libc6", "libc6-dev"])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"suite": "trixie"}, "needs a part of trixie for arm64"),
        ({"closure_beside": "nothing"}, "needs a part of bullseye for arm64"),
        ({"also": {"sid": ["x"]}}, "one suite alone"),
    ],
)
def test_a_closure_is_of_one_suite(changed: dict[str, object], why: str) -> None:
    part = {"kind": "debian", "about": "a", "suite": "bullseye", "architecture": "arm64", "packages": ["p"]}
    tools = {"base": part, "yaml": {**part, "closure_beside": "base", **changed}}
    with pytest.raises(ConfigError, match=why):
        validate(Toolchains, {"tools": tools, "pythons": {}, "compilers": {}}, origin="t")


def test_links_to_the_root_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "lib/arch").mkdir(parents=True)
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib/arch/libm.so.6").write_text("m")
    (tmp_path / "usr/lib/libm.so").symlink_to("/lib/arch/libm.so.6")
    (tmp_path / "usr/lib/kept.so").symlink_to("libm.so")
    make_symlinks_relative(tmp_path)
    assert (tmp_path / "usr/lib/libm.so").read_text() == "m"
    assert (tmp_path / "usr/lib/kept.so").readlink() == Path("libm.so")


def test_a_loader_below_usr_is_found_where_programs_name_it(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    add_lib_folder(tmp_path)
    assert not (tmp_path / "lib").exists()
    (tmp_path / "usr/lib/ld-linux-aarch64.so.1").write_text("loader")
    add_lib_folder(tmp_path)
    assert (tmp_path / "lib/ld-linux-aarch64.so.1").read_text() == "loader"
    assert (tmp_path / "lib").readlink() == Path("usr/lib")


def test_a_lib_folder_of_the_packages_stays(tmp_path: Path) -> None:
    for folder in ("lib", "usr/lib"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "ld-linux-aarch64.so.1").write_text(folder)
    add_lib_folder(tmp_path)
    assert (tmp_path / "lib/ld-linux-aarch64.so.1").read_text() == "lib"


def test_pythons_carry_cibuildwheels_own_identifiers() -> None:
    from cibuildwheel.platforms.linux import all_python_configurations

    known = {configuration.identifier for configuration in all_python_configurations()}
    for tag, python in load_toolchains().pythons.items():
        assert python.identifier == f"{tag}-manylinux_aarch64"
        assert python.identifier in known
