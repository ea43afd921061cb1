"""Variables, options, cross files and toolchain files that make a package's own build compile for aarch64."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.compile.compilers import compiler_of
from builder.compile.compilers.base import Commands
from builder.compile.host import link_host_programs
from builder.compile.layout import (
    SYSCONFIG_DATA,
    dependency_folder,
    framework_folder,
    library_folder,
    licensed_folder,
    relinked_folder,
)
from builder.compile.processes import WORK_VARIABLE
from builder.compile.rust import rust_programs, rust_variables
from builder.compile.wrappers import cache_variables
from builder.errors import CompileError
from builder.model.build import Build
from builder.model.pythons import program_of
from builder.toolbox.toolbox import Toolbox

# Build scripts that read CMakeCache.txt go by the type of a switch: the string "OFF" is true in Python.
_SWITCH = ("ON", "OFF")
SETUPTOOLS_VERSION = 1
"""Raise this by hand when setuptools compiles other bytes from the same inputs. It enters their compile digests."""


def build_variables(
    build: Build, commands: Commands, toolbox: Toolbox, work: Path, python: Path, jobs: int
) -> dict[str, str]:
    """The whole environment of the build; of the user's own it has only ``TMPDIR``."""
    passed = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
    include = toolbox.python_headers(build.python) / "usr/include"
    programs = [str(toolbox.ensure(part) / "usr/bin") for part in build.recipe.build.programs]
    if build.licensed:
        passed[build.licensed] = str(licensed_folder(build))
    return {
        **passed,
        "PATH": ":".join(
            [
                str(work / "bin"),
                str(python.parent),
                *programs,
                *rust_programs(build, toolbox),
                str(link_host_programs(work / "host")),
            ]
        ),
        "HOME": str(work),
        "LC_ALL": "C.UTF-8",
        "CC": str(commands.cc),
        "CXX": str(commands.cxx),
        "AR": str(commands.ar),
        "RANLIB": str(commands.ranlib),
        "STRIP": str(commands.strip),
        **({"FC": str(commands.fc)} if commands.fc else {}),
        "LDSHARED": f"{commands.cc} -shared",
        "LDCXXSHARED": f"{commands.cxx} -shared",
        **_compiler_flags(build, toolbox),
        "CPPFLAGS": f"-I{include}",
        **_framework_variables(build, toolbox, include),
        **rust_variables(build, commands, toolbox, work, python),
        "PKG_CONFIG_LIBDIR": str(work / "pkgconfig"),
        "SOURCE_DATE_EPOCH": str(build.source.epoch),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        **compiler_of(build, toolbox).environment(toolbox),
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "_PYTHON_SYSCONFIGDATA_NAME": SYSCONFIG_DATA,
        "CMAKE_TOOLCHAIN_FILE": str(work / "toolchain.cmake"),
        "MAX_JOBS": str(jobs),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
        WORK_VARIABLE: str(work),
        **cache_variables(build, toolbox, work),
        **{name: filled(value, build, toolbox, work, python) for name, value in build.environment.items()},
    }


def _compiler_flags(build: Build, toolbox: Toolbox) -> dict[str, str]:
    """``CFLAGS`` and ``CXXFLAGS``.

    setuptools takes the flags of the target's CPython (``-O2 -DNDEBUG -fwrapv``) unless ``CFLAGS`` is set, also to
    nothing. So a recipe's flags follow those of CPython, and without any the variables are absent. CMake, which a
    ``setup.py`` may run, has flags of its own and would add these before them.
    """
    recipe = build.recipe.build
    flags = list(recipe.cflags)
    if recipe.frontend in ("setuptools", "setuptools-rust"):
        if not flags:
            return {}
        flags = [*python_flags(toolbox.python_headers(build.python)), *flags]
    return dict.fromkeys(("CFLAGS", "CXXFLAGS"), " ".join(flags))


def python_flags(headers: Path) -> list[str]:
    """The flags of the target's CPython: ``OPT`` of its sysconfig, without ``-g`` and warnings.

    Raises:
        CompileError: its sysconfig has no ``OPT``.
    """
    [path] = headers.glob("sysconfigdata/_sysconfigdata__*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            variables: dict[str, str] = ast.literal_eval(node.value)
            if "OPT" in variables:
                return [flag for flag in variables["OPT"].split() if not flag.startswith(("-g", "-W"))]
    raise CompileError(f"{path.name}: OPT is not there, so the flags of this CPython are unknown")


def _framework_variables(build: Build, toolbox: Toolbox, include: Path) -> dict[str, str]:
    """Search paths for the framework that a recipe extends; the package's build says what to link.

    Its headers are system headers, so that the compiler prints no warnings about them.
    """
    if (framework := build.framework) is None:
        return {}
    folder = framework_folder(framework, toolbox)
    headers = [f"-isystem {folder / inside}" for inside in framework.headers]
    places = dict.fromkeys((folder / library).parent for library in framework.libraries)
    return {
        "CPPFLAGS": " ".join([f"-I{include}", *headers]),
        "LDFLAGS": " ".join(f"-L{place}" for place in places),
    }


def filled(text: str, build: Build, toolbox: Toolbox, work: Path, python: Path) -> str:
    """Replace ``{part:NAME}``, ``{library:NAME}``, ``{site}``, ``{work}`` and ``{version}`` in a recipe's text.

    All but the last become folders; ``{site}`` is the site-packages folder of the build environment.

    Raises:
        CompileError: the text names any other folder.
    """
    [site] = python.parent.parent.glob("lib/python3*/site-packages")
    folders: dict[str, Path | str] = {"site": site, "work": work, "version": build.version}
    folders |= {f"library:{one.name}": library_folder(one, build, toolbox) for one in build.built}

    def folder(found: re.Match[str]) -> str:
        name = found[1]
        if part := name.partition("part:")[2]:
            return str(toolbox.ensure(part))
        if name not in folders:
            raise CompileError(
                f"recipe {build.recipe.name} names the folder {{{name}}}, which does not exist"
            )
        return str(folders[name])

    return re.sub(r"\{([a-z][a-z0-9:-]*)\}", folder, text)


def frontend_options(build: Build, commands: Commands, work: Path, jobs: int) -> list[str]:
    """The config settings (:pep:`517`) of a build, in the spelling of its backend."""
    match build.recipe.build.frontend:
        case "setuptools" | "setuptools-rust":
            return [f"-C--build-option={option}" for option in build.options if option[:2] != "-D"]
        case "meson-python":
            cross = meson_cross_file(build, commands, work)
            setup = [f"--cross-file={cross}", *build.options]
            return [
                f"-Cbuilddir={work / 'build'}",
                *(f"-Csetup-args={option}" for option in setup),
                f"-Ccompile-args=-j{jobs}",
            ]
        case "scikit-build-core":
            # Otherwise it passes the full path of its environment's ninja instead of the script that waits.
            ninja = ["-Ccmake.args=-DCMAKE_MAKE_PROGRAM=" + str(work / "bin/ninja")]
            return [f"-Cbuild-dir={work / 'build'}", *(ninja if build.recipe.build.hot_paths else [])]
        case "maturin":
            return [f"-Cbuild-args={shlex.join(build.options)}"] if build.options else []
        case "bazel" | "cibuildwheel" as other:
            raise CompileError(f"{other} is not a PEP 517 frontend; it has its own driver")


def recipe_settings(build: Build, toolbox: Toolbox, work: Path, python: Path) -> list[str]:
    """The recipe's own config settings, as options of ``python -m build``; a list is one option for each value."""
    given = build.recipe.build.config_settings
    return [
        f"-C{name}={filled(value, build, toolbox, work, python)}"
        for name, values in given.items()
        for value in ((values,) if isinstance(values, str) else values)
    ]


def meson_cross_file(build: Build, commands: Commands, work: Path) -> Path:
    """Meson's cross build definition file (mesonbuild.com, "Cross compilation")."""
    path = work / "cross.ini"
    properties = {"pkg_config_libdir": str(work / "pkgconfig"), **build.recipe.build.meson_properties}
    path.write_text(
        "[binaries]\n"
        f"c = '{commands.cc}'\ncpp = '{commands.cxx}'\nar = '{commands.ar}'\n"
        + (f"fortran = '{commands.fc}'\n" if commands.fc else "")
        + f"ranlib = '{commands.ranlib}'\nstrip = '{commands.strip}'\npkg-config = 'pkgconf'\n"
        "[host_machine]\nsystem = 'linux'\ncpu_family = 'aarch64'\ncpu = 'aarch64'\nendian = 'little'\n"
        "[properties]\n" + "".join(f"{name} = '{value}'\n" for name, value in sorted(properties.items())),
        encoding="utf-8",
    )
    return path


def cmake_toolchain_file(
    build: Build, commands: Commands, toolbox: Toolbox, work: Path, python: Path
) -> Path:
    """Write the toolchain file of a build, with the recipe's own variables; :func:`build_variables` names it."""
    headers = toolbox.python_headers(build.python) / "usr"
    # The tree is a root too: packages call find_path for headers of libraries that they bundle.
    roots = [work / "src"]
    roots += [dependency_folder(dependency, work) for dependency in build.dependencies]
    roots += [relinked_folder(static, work) for static in build.relinked]
    roots += [library_folder(library, build, toolbox) for library in build.built]
    roots += [toolbox.ensure(part) for part in build.recipe.build.libraries]
    roots += [folder for folder in (licensed_folder(build),) if folder]
    [site] = python.parent.parent.glob("lib/python3*/site-packages")
    variables = {
        **package_folders(site),
        "Python_INCLUDE_DIR": str(headers / "include" / program_of(build.python)),
        **dict(
            filled(option.removeprefix("-D"), build, toolbox, work, python).split("=", 1)
            for option in build.options
            if option.startswith("-D")
        ),
    }
    return write_cmake_toolchain(work / "toolchain.cmake", commands, [*roots, headers], variables)


def package_folders(site: Path) -> dict[str, str]:
    """``<Package>_DIR`` of each CMake package that a build requirement brings, such as pybind11.

    CMake looks for packages in the roots of the target alone, and the site-packages folder is of this machine
    (cmake-commands(7), ``find_package``).
    """
    found: dict[str, str] = {}
    for pattern, ending in (("*Config.cmake", "Config.cmake"), ("*-config.cmake", "-config.cmake")):
        for path in sorted(site.rglob(pattern)):
            name = path.name.removesuffix(ending)
            # CMake's own wheel has templates and modules of this form, which are no packages.
            if name and path.relative_to(site).parts[0] != "cmake":
                found.setdefault(f"{name}_DIR", str(path.parent))
    return found


def write_cmake_toolchain(
    path: Path, commands: Commands, roots: Sequence[Path], variables: Mapping[str, str]
) -> Path:
    """Write a toolchain file (cmake-toolchains(7)); CMake searches only in ``roots``, folders of dependencies."""
    path.write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\n"
        "set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)\n"
        f"set(CMAKE_C_COMPILER {commands.cc})\nset(CMAKE_CXX_COMPILER {commands.cxx})\n"
        + (f"set(CMAKE_Fortran_COMPILER {commands.fc})\n" if commands.fc else "")
        + f"set(CMAKE_AR {commands.ar} CACHE FILEPATH ar)\n"
        f"set(CMAKE_RANLIB {commands.ranlib} CACHE FILEPATH ranlib)\n"
        f"set(CMAKE_FIND_ROOT_PATH {' '.join(map(str, roots))})\n"
        "set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)\n"
        # Its default, ldd, reads libraries of this machine alone (cmake-variables(7)); PyTorch asks for the check.
        "set(CMAKE_LINK_WHAT_YOU_USE_CHECK true)\n"
        + "".join(
            f"set(CMAKE_FIND_ROOT_PATH_MODE_{kind} ONLY)\n" for kind in ("LIBRARY", "INCLUDE", "PACKAGE")
        )
        + "".join(
            f'set({name} "{value}" CACHE {"BOOL" if value in _SWITCH else "STRING"} "" FORCE)\n'
            for name, value in variables.items()
        ),
        encoding="utf-8",
    )
    return path
