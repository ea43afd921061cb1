"""Driver for packages that are built by Bazel.

Bazel runs in a root of its own (:mod:`builder.compile.root`). The toolbox has the same paths inside that root as
outside, so that Bazel can call its compilers. Archives that a tree downloads come from the folder of archives
(``--distdir``), from earlier downloads or from the network. The next run continues a killed build, since the work
folder keeps the results of finished actions.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from builder.capacity import capacity, fitting
from builder.compile import Progress
from builder.compile.bazel_command import (
    PACKAGED,
    Places,
    invocation,
    missing_archives,
    rc_file,
    spoken,
    undefined_configs,
)
from builder.compile.bazel_toolchain import toolchain_files, write_toolchain
from builder.compile.compilers import compiler_of
from builder.compile.compilers.zig import zig_cache
from builder.compile.cross import the_one_wheel, working_copy
from builder.compile.frontends import filled
from builder.compile.layout import build_environment
from builder.compile.processes import WORK_VARIABLE, end_leftovers, run_logged
from builder.compile.root import check, enter
from builder.compile.truststore import write_truststore
from builder.compile.wrappers import cache_variables, write_wrappers
from builder.errors import CompileError, ConfigError
from builder.machine import free_resources
from builder.model.build import Build
from builder.model.pythons import program_of
from builder.settings import variable
from builder.source import prepare
from builder.toolbox.toolbox import Toolbox


class BazelDriver:
    """Builds a wheel for aarch64 with Bazel on x86-64."""

    def compile(self, build: Build, toolbox: Toolbox, work: Path, progress: Progress) -> Path:
        settings = build.recipe.build.bazel
        if settings is None:
            raise ConfigError(f"recipe {build.recipe.name} has no [build.bazel]")
        style = settings.versions[build.version]
        check()
        work.mkdir(parents=True, exist_ok=True)
        end_leftovers(work)
        fits = capacity(build.recipe.build.needs, free_resources(work), resumed=(work / "bazel").is_dir())
        progress(f"source ({fits})", 0, 0)
        working_copy(prepare(build.recipe.project, build.source, toolbox.home), work / "src")
        progress("build environment", 0, 0)
        python = build_environment(build, toolbox)
        places = places_of(build, toolbox.home, work)
        runner = _BazelRunner(build, toolbox, places, python)
        runner.write_files()
        options = [filled(option, build, toolbox, work, python) for option in build.options]
        rc_text = "".join(path.read_text(encoding="utf-8") for path in sorted(places.tree.glob("*.bazelrc")))
        if faults := undefined_configs(options, rc_text):
            raise ConfigError(f"recipe {build.recipe.name}: " + "; ".join(faults))
        runner.run(invocation(build, places, options), progress)
        out = work / "dist"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if style.packer is not None:
            runner.run((str(places.tree / "bazel-bin" / style.packer), str(out)), progress)
        else:
            for wheel in (places.tree / "bazel-bin").resolve().glob(style.wheel or ""):
                shutil.copyfile(wheel, out / wheel.name)
        end_leftovers(work)
        return the_one_wheel(build, out)


def places_of(build: Build, home: Path, work: Path) -> Places:
    """The folders of a build, and the jobs and memory that it may use."""
    needs = build.recipe.build.needs
    machine = free_resources(next(folder for folder in (work, *work.parents) if folder.is_dir()))
    jobs = fitting(needs, machine)
    return Places(
        work=work,
        home=home,
        distdir=Path(variable("ARMWHEELS_DISTDIR") or home / "distdir").resolve(),
        remote_cache=variable("ARMWHEELS_BAZEL_CACHE"),
        offline=variable("ARMWHEELS_OFFLINE") == "on",
        jobs=jobs,
        memory=int(1024 * needs.memory_per_job_gib * jobs),
    )


def planned(build: Build, home: Path, work: Path) -> str:
    """What a build needs of the machine, and the command line that would run in Bazel's root."""
    places = places_of(build, home, work)
    style = build.recipe.build.bazel.versions[build.version] if build.recipe.build.bazel else None
    lines = [f"# {build.recipe.build.needs}; in {places.tree}:", spoken(invocation(build, places))]
    if style is not None and style.packer is not None:
        lines.append(spoken((f"bazel-bin/{style.packer}", str(work / "dist"))))
    return "\n".join(lines) + "\n"


class _BazelRunner:
    """Writes the files that Bazel needs beside a tree, and runs commands in Bazel's root."""

    def __init__(self, build: Build, toolbox: Toolbox, places: Places, python: Path) -> None:
        self.build = build
        self.toolbox = toolbox
        self.places = places
        self.python = python
        self.root = toolbox.ensure("bazel")

    def write_files(self) -> None:
        """Write the toolchain and the rc file.

        Raises:
            ConfigError: the recipe asks for a repository that Bazel's package does not have.
        """
        build, toolbox, places = self.build, self.toolbox, self.places
        packaged = build.recipe.build.bazel.packaged if build.recipe.build.bazel else ()
        if unknown := sorted(set(packaged) - set(PACKAGED)):
            known = ", ".join(PACKAGED)
            raise ConfigError(f"Bazel's package has no repository {', '.join(unknown)}; it has {known}")
        host_cache = zig_cache(toolbox.home)
        for folder in (places.work / "tmp", places.work / "root", places.distdir, places.output, host_cache):
            folder.mkdir(parents=True, exist_ok=True)
        commands = write_wrappers(build, toolbox, places.work / "bin")
        tools = [toolbox.ensure(part) for part in toolbox.toolchains.compilers[build.compiler].tools]
        tools += compiler_of(build, toolbox).folders(build, toolbox)
        tools += [toolbox.ensure(part) for part in build.recipe.build.libraries]
        headers = toolbox.python_headers(build.python) / "usr/include" / program_of(build.python)
        files = toolchain_files(
            commands,
            compiler_of(build, toolbox).family,
            # A compiler may report its headers by their resolved paths.
            [
                place
                for folder in (*tools, headers, toolbox.zig().parent, host_cache)
                for place in (folder, folder.resolve())
            ],
            # zig identifies its own compiled libraries by their paths.
            toolbox.zig().resolve(),
            host_cache,
        )
        write_toolchain(places.toolchain, files, headers)
        write_truststore(places.truststore)
        # The variables contain the token of the shared cache.
        places.rc.touch(mode=0o600)
        places.rc.write_text(rc_file(build, places, self._action_variables()), encoding="utf-8")

    def _action_variables(self) -> Mapping[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "SOURCE_DATE_EPOCH": str(self.build.source.epoch),
            "PYTHONHASHSEED": "0",
            **cache_variables(self.build, self.toolbox, self.places.work),
        }

    def run(self, command: tuple[str, ...], progress: Progress) -> None:
        """Run a command in Bazel's root, in the tree.

        Raises:
            CompileError: the command failed; the message lists the archives that Bazel could not get.
        """
        build, places = self.build, self.places
        environment = {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "HOME": str(places.work),
            "USER": "armwheels",
            "TMPDIR": str(places.work / "tmp"),
            "LC_ALL": "C.UTF-8",
            "SOURCE_DATE_EPOCH": str(build.source.epoch),
            "_PYTHON_HOST_PLATFORM": "linux-aarch64",
            "_PYTHON_SYSCONFIGDATA_NAME": "_sysconfigdata__aarch64-linux-gnu",
            WORK_VARIABLE: str(places.work),
            **{
                name: filled(value, build, self.toolbox, places.work, self.python)
                for name, value in build.environment.items()
            },
        }
        home = self.toolbox.home
        folders = (home, home / "toolbox", zig_cache(home), places.distdir)
        entered = enter(self.root, places.work / "root", folders, command, places.tree)
        try:
            run_logged(entered, environment, places.work, progress)
        except CompileError as error:
            log = (places.work / "build.log").read_text(encoding="utf-8", errors="replace")
            last = re.split(r"^\$ ", log, flags=re.MULTILINE)[-1]
            if missing := missing_archives(last):
                names = "\n".join(f"  {name}" for name in missing)
                raise CompileError(
                    f"Bazel could not get archives that the tree needs. Allow network access, or put them into "
                    f"{places.distdir} (ARMWHEELS_DISTDIR names another folder):\n{names}\n{error}"
                ) from error
            raise
