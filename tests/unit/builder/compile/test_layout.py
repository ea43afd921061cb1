"""Static libraries made into a shared one: what the linker is given, and what is refused before it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.compile.compilers.base import Commands
from builder.compile.layout import lay_out_headers, lay_out_part, relink
from builder.errors import CompileError
from builder.model.libraries import StaticDependency

# Writes its command line down and makes the file it is asked for.
TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >> "$(dirname "$0")/log"
while [ $# -gt 0 ]; do case "$1" in -o|rcs) touch "$2";; esac; shift; done
"""

STATIC = {
    "name": "ruy",
    "part": "ruy",
    "package": "libruy-dev",
    "archive": "usr/lib/libruy_*.a",
    "headers": "usr/include",
    "soname": "libruy.so.0",
    "licence": "Apache-2.0",
    "licence_files": ["usr/share/doc/copyright"],
}


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    for name in ("cc", "cxx", "ar", "ranlib", "strip"):
        (tmp_path / name).write_text(TOOL)
        (tmp_path / name).chmod(0o755)
    return Commands(**{name: tmp_path / name for name in ("cc", "cxx", "ar", "ranlib", "strip")})


@pytest.fixture
def toolbox(tmp_path: Path) -> SimpleNamespace:
    part = tmp_path / "part"
    for name in ("usr/lib/libruy_b.a", "usr/lib/libruy_a.a", "usr/lib/other.a", "usr/include/ruy/ruy.h"):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).touch()
    (part / "usr/share/doc").mkdir(parents=True)
    (part / "usr/share/doc/copyright").touch()
    return SimpleNamespace(ensure=lambda _: part)


def test_all_archives_that_fit_make_one_library(
    tmp_path: Path, commands: Commands, toolbox: SimpleNamespace
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    folder = relink(StaticDependency(**STATIC), ["-lcpuinfo"], commands, toolbox, work, dict(os.environ))
    *compiled, archived, linked = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[0] for line in compiled] == ["cc", "cxx"]
    assert archived.startswith("ar rcs ")
    part = toolbox.ensure("ruy")
    assert f"--whole-archive {part}/usr/lib/libruy_a.a {part}/usr/lib/libruy_b.a -Wl,--no-whole" in linked
    assert "other.a" not in linked
    # The newer functions come after what asks for them, and as an archive, so that none comes unasked.
    assert linked.endswith("newer.a -lcpuinfo -Wl,-z,defs")
    assert (folder / "usr/lib/libruy.so").readlink() == Path("libruy.so.0")
    assert (folder / "usr/include/ruy/ruy.h").is_file()
    assert not (folder / "newer").exists()


@pytest.mark.parametrize(
    ("changed", "missing"),
    [({"archive": "usr/lib/libnone_*.a"}, "libnone_"), ({"headers": "usr/none"}, "usr/none")],
)
def test_a_part_without_what_the_recipe_names_is_refused(
    tmp_path: Path, commands: Commands, toolbox: SimpleNamespace, changed: dict[str, str], missing: str
) -> None:
    with pytest.raises(CompileError, match=f"part ruy has no .*{missing}"):
        relink(StaticDependency(**{**STATIC, **changed}), [], commands, toolbox, tmp_path, {})


def test_pkg_config_files_of_a_part_name_its_folder(tmp_path: Path) -> None:
    part, work = tmp_path / "part", tmp_path / "work"
    modules = part / "usr/lib/aarch64-linux-gnu/pkgconfig"
    modules.mkdir(parents=True)
    work.mkdir()
    (modules / "xml.pc").write_text(
        "prefix=/usr\nlibdir=${prefix}/lib/aarch64-linux-gnu\nmodules=/opt/usr/x\n"
        "Libs: -L/usr/lib/x -lxml\nCflags: -I/usr/include/xml -I${prefix}/usr\n"
    )
    lay_out_part(part, work)
    assert (work / "pkgconfig/xml.pc").read_text() == (
        f"prefix={part}/usr\nlibdir=${{prefix}}/lib/aarch64-linux-gnu\nmodules=/opt/usr/x\n"
        f"Libs: -L{part}/usr/lib/x -lxml\nCflags: -I{part}/usr/include/xml -I${{prefix}}/usr\n"
    )


def test_the_first_part_with_a_pkg_config_module_provides_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        modules = tmp_path / name / "usr/share/pkgconfig"
        modules.mkdir(parents=True)
        (modules / "z.pc").write_text("prefix=/usr\n")
        lay_out_part(tmp_path / name, tmp_path)
    assert (tmp_path / "pkgconfig/z.pc").read_text() == f"prefix={tmp_path}/one/usr\n"


def test_header_packages_of_the_build_requirements_are_found_by_pkg_config(tmp_path: Path) -> None:
    """SciPy's Meson build asks for the module numpy; a library of the build environment is for another machine."""
    site = tmp_path / "site-packages"
    modules = site / "numpy/_core/lib/pkgconfig"
    modules.mkdir(parents=True)
    header = "prefix=${pcfiledir}/../..\nName: numpy\nVersion: 2.5.5\nCflags: -I${prefix}/include\n"
    (modules / "numpy.pc").write_text(header)
    (modules / "npymath.pc").write_text("Name: npymath\nLibs: -L${pcfiledir}/.. -lnpymath\n")
    (modules / "openblas.pc").write_text("Name: openblas\n")
    own = tmp_path / "pkgconfig/openblas.pc"
    own.parent.mkdir()
    own.write_text("Name: the dependency's\n")
    lay_out_headers(site, tmp_path)
    assert (own.parent / "numpy.pc").read_text() == header.replace("${pcfiledir}", str(modules))
    assert not (own.parent / "npymath.pc").exists()
    assert own.read_text() == "Name: the dependency's\n"
