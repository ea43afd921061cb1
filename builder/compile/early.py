"""Finds faults of a recipe in its source and its flags before anything is compiled."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from builder.compile.compilers import compiler_of
from builder.compile.options import check_cmake_variables, unknown_meson_options
from builder.compile.rust import check_crates
from builder.compile.wrappers import write_wrappers
from builder.errors import CompileError, ConfigError, SourceError
from builder.model.build import Build
from builder.model.pythons import version_of
from builder.model.sources import ArchiveSource, FolderSource, GitSource, SdistSource
from builder.source import check_answers, prepare, tree_folder
from builder.source.backend import FRONTENDS, backend_of, frontend_of, pyproject_of
from builder.toolbox.toolbox import Toolbox


def early_faults(builds: Iterable[Build], toolbox: Toolbox) -> tuple[list[str], list[str]]:
    """The faults of recipes that their sources and compilers show, and what could not be examined.

    Sources are fetched and unpacked, as the builds need them. Large ones, from git or Debian, are examined once
    they are there, and flags once the compiler is. A git repository is asked whether it answers.
    """
    faults: dict[str, None] = {}
    notes: dict[str, None] = {}
    trees: dict[Path, Path | SourceError | None] = {}
    for build in builds:
        if build.recipe.build.frontend == "bazel":
            continue
        place = tree_folder(build.recipe.project, build.source, toolbox.home)
        if place not in trees:
            trees[place] = _tree(build, toolbox.home)
        tree = trees[place]
        if isinstance(tree, SourceError):
            if "does not apply" in str(tree):
                faults[f"recipe {build.recipe.name} {build.version}: {tree}"] = None
            else:
                notes[f"{build.recipe.name} {build.version} was not examined: {tree}"] = None
            continue
        if tree is not None:
            faults |= dict.fromkeys([*source_faults(build, tree), *_crate_faults(build, tree)])
        faults |= dict.fromkeys(flag_faults(build, toolbox))
    return list(faults), list(notes)


def _crate_faults(build: Build, tree: Path) -> Iterator[str]:
    if (rust := build.recipe.build.rust) is not None:
        try:
            check_crates(tree, rust.crates, f"the source of {build.recipe.project} {build.version}")
        except CompileError as error:
            yield f"recipe {build.recipe.name}: {error}"


def _tree(build: Build, home: Path) -> Path | SourceError | None:
    """The tree of a build's source, ``None`` while a large one is not here yet, or why it cannot be had."""
    source = build.source.source
    try:
        if isinstance(source, SdistSource | ArchiveSource | FolderSource):
            return prepare(build.recipe.project, build.source, home)
        if (folder := tree_folder(build.recipe.project, build.source, home)).is_dir():
            return folder
        if isinstance(source, GitSource):
            check_answers(source)
    except SourceError as error:
        return error
    return None


def check_source(build: Build, tree: Path) -> None:
    """Refuse a source that the recipe does not fit.

    Raises:
        ConfigError: with every fault of :func:`source_faults`.
    """
    if faults := list(source_faults(build, tree)):
        raise ConfigError("\n".join(faults))


def source_faults(build: Build, tree: Path) -> Iterator[str]:
    """What the source contradicts: the frontend, the Python, and options that no file of it reads."""
    whose = f"recipe {build.recipe.name}"

    def read(name: str) -> str | None:
        path = tree / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    try:
        pyproject = pyproject_of(read)
    except ValueError as error:
        yield f"{whose}: pyproject.toml of the source is not valid TOML: {error}"
        return
    own: str = build.recipe.build.frontend
    fitting = frontend_of(pyproject, read)
    if (
        own != "cibuildwheel"
        and fitting not in (None, own, own.removesuffix("-rust"))
        and "build-backend" in pyproject.get("build-system", {})
    ):
        yield (
            f'{whose}: build.frontend is "{own}", but the build backend of the source is {backend_of(pyproject)}; '
            f'use frontend = "{fitting}"'
        )
    elif fitting is None and own in FRONTENDS.values() and own != "setuptools":
        yield f'{whose}: build.frontend is "{own}", but the build backend of the source is {backend_of(pyproject)}'
    allowed = _requires_python(read("PKG-INFO")) or str(
        pyproject.get("project", {}).get("requires-python", "")
    )
    if not _allows(allowed, build.python):
        yield f"{whose}: version {build.version} needs Python {allowed}, which {build.python} is not"
    if own == "meson-python":
        yield from unknown_meson_options(build.options, tree, whose)
        return
    if own in ("maturin", "cibuildwheel"):  # cargo reads its options
        return
    try:
        check_cmake_variables(build.options, tree, f"{whose}, backend {build.backend}")
    except ConfigError as error:
        yield str(error)


def _requires_python(metadata: str | None) -> str:
    return (Parser().parsestr(metadata or "", headersonly=True).get("Requires-Python") or "").strip()


def _allows(specifiers: str, python: str) -> bool:
    try:
        return SpecifierSet(specifiers).contains(version_of(python), prereleases=True)
    except InvalidSpecifier:
        return True


def flag_faults(build: Build, toolbox: Toolbox) -> Iterator[str]:
    """Compiler options of the recipe that its compiler does not know; nothing if the compiler is not here yet."""
    settings = build.recipe.build
    flags = [*settings.cflags, *settings.hot_flags]
    parts = toolbox.toolchains.compilers[build.compiler].tools
    if not flags or not all(toolbox.has(part) for part in (*parts, "ccache")):
        return
    with tempfile.TemporaryDirectory() as scratch:
        commands = write_wrappers(build, toolbox, Path(scratch) / "bin", libraries=[])
        source = Path(scratch) / "empty.c"
        source.write_text("int nothing;\n", encoding="utf-8")
        done = subprocess.run(
            [str(commands.cc), *flags, "-c", str(source), "-o", f"{scratch}/empty.o"],
            env={**os.environ, **compiler_of(build, toolbox).environment(toolbox), "CCACHE_DISABLE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        unknown = re.findall(r"error: (.*)", done.stderr) or [done.stderr.strip()[-300:]]
        place = f"recipe {build.recipe.name}: build.cflags, build.hot_flags"
        yield f"{place}: {build.compiler} refuses them: {'; '.join(unknown)}"
