"""Lays out what a build needs: its environment of hashed requirements, and libraries for the target."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.compile.compilers.base import WRAPPER_VERSION, Commands
from builder.compile.processes import checked, end_leftovers
from builder.errors import CompileError, ConfigError, ToolboxError
from builder.locks import requirements_lock
from builder.model.build import Build
from builder.model.libraries import BuiltDependency, Framework, StaticDependency, WheelDependency
from builder.source import source_inputs
from builder.toolbox.fetch import fetch_pypi
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_in_place, create_once

LIBRARY_VERSION = 2
"""Raise this by hand when a library is built or recorded differently. It enters the library's digest."""

SYSCONFIG_DATA = (
    "_sysconfigdata_of_headers" if platform.machine() == "aarch64" else "_sysconfigdata__aarch64-linux-gnu"
)
"""The module with the arm64 sysconfig data. On an arm64 host Python's own has the usual name, and would hide it."""

# `/usr` as a whole word at the beginning of a path (pkg-config(1), "Metadata file syntax").
_SYSTEM_FOLDER = re.compile(r"(?<![\w.}/-])/usr(?=[/\s]|$)|(?<=-[IL])/usr(?=/)", re.MULTILINE)
_LIBRARIES = re.compile(r"^Libs(\.private)?:[ \t]*\S", re.MULTILINE)
_NEWER = tuple(Path(__file__).with_name(name) for name in ("newer_glibc.c", "newer_libstdcxx.cpp"))


def build_environment(build: Build, toolbox: Toolbox) -> Path:
    """Make a virtual environment with the recipe's hashed build requirements; returns its Python.

    The arm64 sysconfig data is copied into its site-packages, since frontends drop ``PYTHONPATH``.

    Raises:
        CompileError: pip refuses a requirement.
    """
    lock = requirements_lock(build.recipe.name, "build", build.python)
    interpreter = toolbox.build_python(build.python)
    headers = toolbox.python_headers(build.python)
    # The name depends on the content and not on paths: some packages write the path of their Python into the wheel.
    parts = [toolbox.pins.digest(f"{kind}-{build.python}") for kind in ("python", "headers")]
    named = hashlib.sha256(lock.read_bytes() + "".join(parts).encode()).hexdigest()
    env = toolbox.home / "envs" / f"{build.recipe.name}-{build.python}-{named[:12]}"
    python = env / "bin/python"

    def install() -> None:
        end_leftovers(env)
        shutil.rmtree(env, ignore_errors=True)
        checked([str(interpreter), "-m", "venv", "--without-pip", str(env)], env)
        checked(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)),
                *("install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"),
                *("-r", str(lock)),
            ],
            env,
        )
        site = next(env.glob("lib/python3*/site-packages"))
        for data in (headers / "sysconfigdata").iterdir():
            shutil.copyfile(data, site / f"{SYSCONFIG_DATA}.py")

    create_in_place(env, install)
    return python


def lay_out_dependency(dependency: WheelDependency, toolbox: Toolbox, work: Path) -> Path:
    """Unpack a library from a wheel of PyPI and write its pkg-config file; returns its folder.

    Raises:
        CompileError: it cannot be fetched, or the wheel lacks a file that the recipe names.
    """
    wheel = _fetched(dependency, toolbox)
    folder = create_once(
        dependency_folder(dependency, work), lambda path: shutil.unpack_archive(wheel, path, format="zip")
    )
    for inside in (dependency.libraries, dependency.headers, *dependency.licence_files):
        if not (folder / inside).exists():
            raise CompileError(f"{dependency.filename} has no {inside}, which the recipe names")
    pc = work / "pkgconfig" / f"{dependency.pkg_config}.pc"
    pc.parent.mkdir(exist_ok=True)
    pc.write_text(
        f"Name: {dependency.pkg_config}\nDescription: {dependency.name}, ready-made\n"
        f"Version: {dependency.version}\nLibs: -L{folder / dependency.libraries} {dependency.link}\n"
        f"Cflags: -I{folder / dependency.headers} {' '.join(dependency.cflags)}\n",
        encoding="utf-8",
    )
    return folder


def lay_out_part(root: Path, work: Path) -> None:
    """Copy the pkg-config files of a part of the toolbox for a build; the part's folder replaces ``/usr`` in them.

    A module that an earlier part has too stays as it is.
    """
    into = work / "pkgconfig"
    into.mkdir(exist_ok=True)
    for folder in ("usr/lib/aarch64-linux-gnu/pkgconfig", "usr/lib/pkgconfig", "usr/share/pkgconfig"):
        for module in sorted((root / folder).glob("*.pc")):
            if not (into / module.name).exists():
                text = _SYSTEM_FOLDER.sub(str(root / "usr"), module.read_text(encoding="utf-8"))
                (into / module.name).write_text(text, encoding="utf-8")


def lay_out_headers(site: Path, work: Path) -> None:
    """Copy the pkg-config files of build requirements that bring headers alone, such as NumPy and pybind11.

    ``${pcfiledir}`` becomes the folder of the file (pkg-config(1)). A module with ``Libs`` is left out, since its
    library is for this machine; so is one that a part of the toolbox or a dependency has.
    """
    into = work / "pkgconfig"
    into.mkdir(exist_ok=True)
    for module in sorted(site.rglob("pkgconfig/*.pc")):
        text = module.read_text(encoding="utf-8")
        if not _LIBRARIES.search(text) and not (into / module.name).exists():
            text = text.replace("${pcfiledir}", str(module.parent))
            (into / module.name).write_text(text, encoding="utf-8")


def dependency_folder(dependency: WheelDependency, work: Path) -> Path:
    """The folder of :func:`lay_out_dependency`."""
    return work / "deps" / f"{dependency.name}-{dependency.version}"


def _fetched(pinned: WheelDependency | Framework, toolbox: Toolbox) -> Path:
    """A pinned wheel of PyPI among the downloads, fetched unless it is there."""
    wheel = toolbox.home / "downloads" / pinned.sha256 / pinned.filename
    if not wheel.is_file():
        try:
            fetch_pypi(pinned.name, pinned.filename, pinned.sha256, wheel)
        except ToolboxError as error:
            raise CompileError(str(error)) from error
    return wheel


def framework_folder(framework: Framework, toolbox: Toolbox) -> Path:
    """The folder of :func:`lay_out_framework`; all builds share it, and none changes it."""
    return toolbox.home / "frameworks" / f"{framework.name}-{framework.version}-{framework.sha256[:12]}"


def lay_out_framework(framework: Framework, toolbox: Toolbox) -> Path:
    """Unpack the headers and the libraries to link of a framework's wheel, and no other files; returns the folder.

    Raises:
        CompileError: it cannot be fetched, or the wheel lacks a file that the recipe names.
    """
    folder = framework_folder(framework, toolbox)
    wanted = (*(f"{headers}/" for headers in framework.headers), *framework.libraries)
    named = hashlib.sha256("\n".join(wanted).encode()).hexdigest()

    def unpack() -> None:
        with zipfile.ZipFile(_fetched(framework, toolbox)) as archive:
            members = [name for name in archive.namelist() if name.startswith(wanted)]
            missing = [one for one in wanted if not any(name.startswith(one) for name in members)]
            if missing:
                raise CompileError(
                    f"{framework.filename} has no {', '.join(missing)}, which the recipe names"
                )
            archive.extractall(folder, members)

    # Recipes that want different files of the same framework share the folder.
    return create_in_place(folder, unpack, marker=f".complete-{named[:12]}")


def relinked_folder(static: StaticDependency, work: Path) -> Path:
    """The folder of :func:`relink`, which contains ``usr/lib`` and ``usr/include``."""
    return work / "deps" / static.name


def relink(
    static: StaticDependency,
    link: Sequence[str],
    commands: Commands,
    toolbox: Toolbox,
    work: Path,
    environment: Mapping[str, str],
) -> Path:
    """Link a shared library from static ones, with the linker and the sysroot of the target; returns its folder.

    ``link`` are the recipe's linker options, with their folders filled in.

    Raises:
        CompileError: the part lacks a file that the recipe names, or the linker fails.
    """
    part = toolbox.ensure(static.part)
    archives = sorted(map(str, part.glob(static.archive)))
    missing = [inside for inside in (static.headers, *static.licence_files) if not (part / inside).exists()]
    for inside in [*([] if archives else [static.archive]), *missing]:
        raise CompileError(f"part {static.part} has no {inside}, which the recipe names")

    def link_library(folder: Path) -> None:
        library = folder / "usr/lib" / static.soname
        library.parent.mkdir(parents=True)
        newer = _newer_functions(commands, folder.parent, work, environment)
        checked(
            [
                *(str(commands.cc), "-shared", "-o", str(library), f"-Wl,-soname,{static.soname}"),
                *("-Wl,--whole-archive", *archives, "-Wl,--no-whole-archive", str(newer)),
                *link,
                # An undefined symbol is an error now, and not when the wheel is loaded.
                "-Wl,-z,defs",
            ],
            work,
            environment,
        )
        library.with_name(library.name.partition(".so")[0] + ".so").symlink_to(static.soname)
        shutil.copytree(
            part / static.headers, folder / "usr/include", ignore=shutil.ignore_patterns("*.a", "*.so*")
        )

    return create_once(relinked_folder(static, work), link_library)


def _newer_functions(commands: Commands, scratch: Path, work: Path, environment: Mapping[str, str]) -> Path:
    """A static library of functions that objects compiled with newer headers need; the linker takes only those."""
    objects = [scratch / f"{source.stem}.o" for source in _NEWER]
    for source, unit in zip(_NEWER, objects, strict=True):
        compiler = commands.cc if source.suffix == ".c" else commands.cxx
        checked([str(compiler), "-O2", "-fPIC", "-c", str(source), "-o", str(unit)], work, environment)
    checked([str(commands.ar), "rcs", str(scratch / "newer.a"), *map(str, objects)], work, environment)
    return scratch / "newer.a"


def library_folder(library: BuiltDependency, build: Build, toolbox: Toolbox) -> Path:
    """The folder of a library, with ``usr/include``, ``usr/lib`` and ``licences``; its name contains a digest.

    The digest covers the compiler and the recipe's description of the library, but not the target.
    """
    tools = toolbox.toolchains.compilers[build.compiler].tools
    inputs = {
        "version": [LIBRARY_VERSION, WRAPPER_VERSION],
        "library": library.model_dump(mode="json"),
        "source": source_inputs(library.source),
        "compiler": [build.compiler, build.compiler_version, *(toolbox.pins.digest(tool) for tool in tools)],
        "glibc": build.recipe.build.glibc,
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return toolbox.home / "out/libraries" / f"{library.name}-{library.version}-{digest[:16]}"


def licensed_folder(build: Build) -> Path | None:
    """The user's copy of the library that a licensed backend needs; ``None`` for any other backend.

    Raises:
        ConfigError: the variable with its path is not set, or is not the path of a folder.
    """
    if build.licensed is None:
        return None
    named = os.environ.get(build.licensed, "")
    if not named or not Path(named).is_dir():
        raise ConfigError(
            f"backend {build.backend} needs a library that is licensed to you: set {build.licensed} to its folder"
            + (f"; {named} is not a folder" if named else "")
        )
    return Path(named).resolve()
