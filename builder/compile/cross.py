"""Driver for packages with a :pep:`517` backend, which runs on x86-64 and builds for aarch64.

The backend runs in an x86-64 CPython with the sysconfig data of the arm64 one, so that it uses the names and tags
of aarch64. Its compilers are the scripts of :mod:`builder.compile.wrappers`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from packaging.utils import parse_wheel_filename

from builder.capacity import capacity
from builder.compile import Progress
from builder.compile.compilers import compiler_of
from builder.compile.compilers.base import Commands
from builder.compile.early import check_source
from builder.compile.frontends import (
    build_variables,
    cmake_toolchain_file,
    filled,
    frontend_options,
    recipe_settings,
)
from builder.compile.layout import (
    build_environment,
    lay_out_dependency,
    lay_out_framework,
    lay_out_headers,
    lay_out_part,
    library_folder,
    licensed_folder,
    relink,
    relinked_folder,
)
from builder.compile.library import build_library
from builder.compile.processes import end_leftovers, run_logged
from builder.compile.rust import check_crates, write_rust
from builder.compile.wrappers import write_ninja_in_turn, write_wrappers
from builder.errors import CompileError, ConfigError
from builder.folders import script
from builder.machine import free_resources
from builder.model.build import Build
from builder.model.pythons import built_for
from builder.source import prepare
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once

CROSS_VERSION = 2
"""Raise this by hand when this driver builds differently. It enters the compile digest."""


class CrossDriver:
    """Builds packages with a :pep:`517` backend for aarch64 on x86-64."""

    def compile(self, build: Build, toolbox: Toolbox, work: Path, progress: Progress) -> Path:
        prepared = _prepare(build, toolbox, work, progress)
        out = work / "dist"
        shutil.rmtree(out, ignore_errors=True)
        # -P: an interrupted build of the package may have left a folder `build` in the working folder.
        command = [
            *(
                str(prepared.python),
                "-P",
                "-m",
                "build",
                "--wheel",
                "--no-isolation",
                "--skip-dependency-check",
            ),
            *(
                "--outdir",
                str(out),
                *frontend_options(build, prepared.commands, work, prepared.jobs),
                *recipe_settings(build, toolbox, work, prepared.python),
                str(prepared.tree),
            ),
        ]
        with _configure_one_by_one(build, toolbox, progress) as report:
            run_logged(command, prepared.environment, work, report)
        # A small build may end before zig has made the support libraries that the build did not need.
        end_leftovers(work)
        return the_one_wheel(build, out)

    def component(self, build: Build, name: str, toolbox: Toolbox, work: Path, progress: Progress) -> Path:
        """Build one component of the recipe and its extension; returns the folder with both.

        Raises:
            ConfigError: the recipe has no such component.
            CompileError: the build failed, or made no library that the recipe names.
        """
        if name not in build.recipe.components:
            known = ", ".join(build.recipe.components) or "none"
            raise ConfigError(f"recipe {build.recipe.name} has no component '{name}'; it has {known}")
        component = build.recipe.components[name]
        prepared = _prepare(build, toolbox, work, progress)
        environment = prepared.environment
        configure = [str(prepared.python), "setup.py", *component.configure]
        run_logged(configure, environment, work, progress, folder=prepared.tree)
        targets = [option for target in component.targets for option in ("--target", target)]
        run_logged(["cmake", "--build", "build", *targets], environment, work, progress, folder=prepared.tree)
        out = work / "component"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for library in component.libraries:
            if not (prepared.tree / library).is_file():
                raise CompileError(f"the build of component {name} made no {library}")
            shutil.copyfile(prepared.tree / library, out / Path(library).name)
        extension = script(component.extension)
        command = [
            *(str(prepared.commands.cxx), "-std=c++17", "-O2", "-fPIC", "-shared", str(extension)),
            *(f"-I{prepared.tree / include}" for include in component.includes),
            *("-o", str(out / f"{extension.stem}.so"), "-Wl,-rpath,$ORIGIN", "-Wl,-z,defs"),
            *(str(out / Path(library).name) for library in component.libraries),
        ]
        run_logged(command, environment, work, progress)
        return out


@contextmanager
def _configure_one_by_one(build: Build, toolbox: Toolbox, progress: Progress) -> Iterator[Progress]:
    """Let targets that share units configure one after the other, so that the cache serves their trial compiles.

    The lock is released when the build reports its first compile step.
    """
    with ExitStack() as lock:
        if build.recipe.build.hot_paths:
            name = f"{build.recipe.project}-{build.version}-{build.python}.configure"
            lock.enter_context(FileLock(toolbox.home / "work" / name))

        def report(what: str, done: int, steps: int) -> None:
            if steps:
                lock.close()
            progress(what, done, steps)

        yield report


@dataclass(frozen=True, kw_only=True)
class _PreparedTree:
    """A source tree that is ready to be built, with the Python, the commands and the environment for it."""

    tree: Path
    python: Path
    commands: Commands
    environment: dict[str, str]
    jobs: int


def _prepare(build: Build, toolbox: Toolbox, work: Path, progress: Progress) -> _PreparedTree:
    licensed_folder(build)
    work.mkdir(parents=True, exist_ok=True)
    end_leftovers(work)
    fits = capacity(build.recipe.build.needs, free_resources(work), resumed=(work / "src/build").is_dir())
    progress(f"source ({fits})", 0, 0)
    if build.recipe.build.frontend in ("setuptools", "setuptools-rust"):
        # setuptools takes any newer .so as finished, even one that a killed linker left incomplete.
        for own in (work / "src/build").glob("*.*-*"):
            shutil.rmtree(own, ignore_errors=True)
    tree = working_copy(prepare(build.recipe.project, build.source, toolbox.home), work / "src")
    check_source(build, tree)
    progress("build environment", 0, 0)
    python = build_environment(build, toolbox)
    progress("dependencies", 0, 0)
    for part in build.recipe.build.libraries:
        lay_out_part(toolbox.ensure(part), work)
    for dependency in build.dependencies:
        lay_out_dependency(dependency, toolbox, work)
    for site in python.parent.parent.glob("lib/python3*/site-packages"):
        lay_out_headers(site, work)
    if build.framework:
        lay_out_framework(build.framework, toolbox)
    for library in build.built:
        build_library(library, build, toolbox, python, fits.jobs, progress)
    beside = [relinked_folder(static, work) for static in build.relinked]
    beside += [library_folder(library, build, toolbox) for library in build.built]
    commands = write_wrappers(
        build, toolbox, work / "bin", libraries=[folder / "usr/lib" for folder in beside]
    )
    if build.recipe.build.hot_paths:
        write_ninja_in_turn(build, toolbox, work / "bin", python.with_name("ninja"))
    environment = build_variables(build, commands, toolbox, work, python, fits.jobs)
    for static in build.relinked:
        link = [filled(option, build, toolbox, work, python) for option in static.link]
        relink(static, link, commands, toolbox, work, environment)
    if (rust := build.recipe.build.rust) is not None:
        check_crates(tree, rust.crates, f"the source of {build.recipe.project} {build.version}")
        write_rust(build, commands, toolbox, work, environment)
    cmake_toolchain_file(build, commands, toolbox, work, python)
    compiler_of(build, toolbox).warm_up(commands, environment, work)
    return _PreparedTree(tree=tree, python=python, commands=commands, environment=environment, jobs=fits.jobs)


def working_copy(pristine: Path, copy: Path) -> Path:
    """A copy of the tree that the build may change; the copy of a killed run is complete and is used again."""
    return create_once(copy, lambda path: shutil.copytree(pristine, path, symlinks=True))


def the_one_wheel(build: Build, out: Path) -> Path:
    """The wheel that the backend made, if it is the expected one.

    Raises:
        CompileError: there is no wheel, there are several, or its name, version or tag differs.
    """
    match sorted(out.glob("*.whl")):
        case []:
            raise CompileError("the build succeeded but made no wheel")
        case [wheel]:
            name, version, _, tags = parse_wheel_filename(wheel.name)
            problems = []
            if name != build.recipe.project:
                problems.append(f"its name is {name}, not {build.recipe.project}")
            if str(version) != build.version:
                problems.append(f"its version is {version}, not {build.version}")
            if {tag.platform for tag in tags} != {"linux_aarch64"}:
                problems.append(
                    "it is not a linux_aarch64 wheel: with a broken compiler some packages "
                    "silently leave their extensions out"
                )
            problems += [
                f"it is not for {python}"
                for python in (build.python, *build.tested)
                if not built_for(python, tags)
            ]
            if build.recipe.build.stable_abi and {tag.abi for tag in tags} != {"abi3"}:
                problems.append("it is not for the stable ABI")
            if problems:
                raise CompileError(f"the build made {wheel.name}: {'; '.join(problems)}")
            return wheel
        case several:
            raise CompileError(f"the build made {len(several)} wheels: {', '.join(w.name for w in several)}")
