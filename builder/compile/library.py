"""Libraries that a recipe builds from source, by CMake: each is compiled once and kept by its digest."""

from __future__ import annotations

import shutil
from pathlib import Path

from builder.compile import Progress
from builder.compile.compilers import compiler_of
from builder.compile.cost import keep_cost
from builder.compile.frontends import build_variables, write_cmake_toolchain
from builder.compile.layout import library_folder
from builder.compile.options import check_cmake_variables
from builder.compile.processes import end_leftovers, run_logged
from builder.compile.units import collect_units, write_record
from builder.compile.wrappers import write_wrappers
from builder.errors import CompileError
from builder.model.build import Build
from builder.model.libraries import BuiltDependency
from builder.model.units import UnitRecord
from builder.source import prepare
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once


def build_library(
    library: BuiltDependency, build: Build, toolbox: Toolbox, python: Path, jobs: int, progress: Progress
) -> Path:
    """Build a library unless its folder exists; returns the folder.

    Raises:
        SourceError: its source cannot be fetched.
        ConfigError: one of its options is misspelt.
        CompileError: the build failed, or made no file that the recipe names.
    """
    final = library_folder(library, build, toolbox)
    work = toolbox.home / "work" / final.name

    def compile_library(folder: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        end_leftovers(work)
        progress(f"{library.name} {library.version}", 0, 0)
        tree = prepare(library.name, library.source, toolbox.home)
        check_cmake_variables(library.options, tree, f"recipe {build.recipe.name}, library {library.name}")
        commands = write_wrappers(build, toolbox, work / "bin", tuned=False)
        environment = build_variables(build, commands, toolbox, work, python, jobs)
        write_cmake_toolchain(work / "toolchain.cmake", commands, [work / "build"], dict(_variables(library)))
        configure = ["cmake", "-G", "Ninja", "-S", str(tree), "-B", str(work / "build")]
        run_logged(configure, environment, work, progress)
        targets = [option for target in library.targets for option in ("--target", target)]
        run_logged(["cmake", "--build", str(work / "build"), *targets], environment, work, progress)
        _collect(library, tree, work / "build", folder)
        keep_cost(work, folder)
        units = collect_units(compiler_of(build, toolbox).optimisation, work, tree)
        write_record(folder, UnitRecord(units=units))

    create_once(final, compile_library, durable=True)
    shutil.rmtree(work, ignore_errors=True)
    return final


def _variables(library: BuiltDependency) -> list[tuple[str, str]]:
    pairs = (option.removeprefix("-D").partition("=") for option in library.options)
    return [(name, value) for name, _, value in pairs]


def _collect(library: BuiltDependency, tree: Path, built: Path, into: Path) -> None:
    """Copy libraries, headers and licences from the source and the build folder."""
    named = [built / inside for inside in library.libraries]
    named += [tree / inside for inside in (*library.headers, *library.licence_files)]
    if missing := [str(path) for path in named if not path.exists()]:
        raise CompileError(f"the build of {library.name} made no {', '.join(missing)}")
    for folder in ("usr/lib", "usr/include", "licences"):
        (into / folder).mkdir(parents=True)
    for inside in library.libraries:
        shutil.copyfile(built / inside, into / "usr/lib" / Path(inside).name)
    for inside, name in library.headers.items():
        shutil.copytree(tree / inside, into / "usr/include" / name, dirs_exist_ok=True)
    for inside in library.licence_files:
        shutil.copyfile(tree / inside, into / "licences" / Path(inside).name)
