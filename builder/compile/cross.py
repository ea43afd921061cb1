"""Driver for PEP 517 packages: the package's own build backend, run here, building for there.

An ordinary x86-64 CPython runs the backend while the arm64 sysconfig data makes it name and place things for
aarch64; the compilers are the wrappers of :mod:`builder.compile.wrappers`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import psutil
from filelock import FileLock
from packaging.utils import parse_wheel_filename

from builder.compile import Progress
from builder.compile.wrappers import Commands, cache_variables, write_wrappers
from builder.errors import CompileError, ToolboxError
from builder.fetch import fetch_pypi
from builder.lock import requirements_lock
from builder.model import Build, StaticDependency, WheelDependency
from builder.source import prepare
from builder.toolbox import Toolbox, python_name

CROSS_VERSION = 2
"""Raised by hand when this driver would build differently; it enters the compile digest."""

_WORK_VARIABLE = "ARMWHEELS_WORK"
_NEWER_GLIBC = Path(__file__).with_name("newer_glibc.c")
_NINJA_LINE = re.compile(r"^\[(\d+)/(\d+)\] ")
_TELLING = re.compile(r"(error:|ERROR|^FAILED:|Traceback|undefined reference|fatal)", re.MULTILINE)


class CrossDriver:
    """Builds setuptools, meson-python and scikit-build-core packages for aarch64 on x86-64."""

    def compile(self, build: Build, toolbox: Toolbox, work: Path, progress: Progress) -> Path:
        work.mkdir(parents=True, exist_ok=True)
        _end_leftovers(work)
        progress("source", 0, 0)
        if build.recipe.build.frontend == "setuptools":
            # setuptools takes any newer .so as finished, even one that a killed linker left half written.
            for own in (work / "src/build").glob("*.*-*"):
                shutil.rmtree(own, ignore_errors=True)
        tree = _working_copy(prepare(build.recipe.project, build.source, toolbox.home), work / "src")
        progress("build environment", 0, 0)
        python = build_environment(build, toolbox)
        progress("dependencies", 0, 0)
        for dependency in build.dependencies:
            lay_out_dependency(dependency, toolbox, work)
        commands = write_wrappers(build, toolbox, work / "bin")
        environment = _environment(build, commands, toolbox, work, python)
        for static in build.relinked:
            relink(static, commands, toolbox, work, environment)
        _cmake_toolchain_file(build, commands, toolbox, work, environment)
        if build.compiler == "zig":
            _warm_up(commands, environment, work)
        out = work / "dist"
        shutil.rmtree(out, ignore_errors=True)
        command = [
            *(str(python), "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"),
            *("--outdir", str(out), *_frontend_options(build, commands, work), str(tree)),
        ]
        _run(command, environment, work, progress)
        # A small build may end before the support libraries it does not need are made.
        _end_leftovers(work)
        return _the_one_wheel(build, out)


def _working_copy(pristine: Path, copy: Path) -> Path:
    """The tree a build may write into; a copy left by a killed run is whole and is used again."""
    if not copy.is_dir():
        fresh = copy.with_name(f".{copy.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(pristine, fresh, symlinks=True)
        fresh.rename(copy)
    return copy


def build_environment(build: Build, toolbox: Toolbox) -> Path:
    """A virtual environment with the recipe's hashed build requirements; returns its Python.

    The arm64 sysconfig data lies in its site-packages, since frontends drop PYTHONPATH.

    Raises:
        CompileError: pip refuses a requirement.
    """
    lock = requirements_lock(build.recipe.name, "build", build.python)
    interpreter = toolbox.build_python(build.python)
    headers = toolbox.python_headers(build.python)
    # Named by what is in it and not by where it lies: packages write the name of their Python into the wheel.
    parts = [toolbox.pins.digest(f"{kind}-{build.python}") for kind in ("python", "headers")]
    named = hashlib.sha256(lock.read_bytes() + "".join(parts).encode()).hexdigest()
    env = toolbox.home / "envs" / f"{build.recipe.name}-{build.python}-{named[:12]}"
    python, complete = env / "bin/python", env / ".complete"
    env.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{env}.lock"):
        if not complete.is_file():
            _end_leftovers(env)
            shutil.rmtree(env, ignore_errors=True)
            _checked([str(interpreter), "-m", "venv", "--without-pip", str(env)], env)
            _checked(
                [
                    *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)),
                    *("install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"),
                    *("-r", str(lock)),
                ],
                env,
            )
            site = next(env.glob("lib/python3*/site-packages"))
            for data in (headers / "sysconfigdata").iterdir():
                shutil.copyfile(data, site / data.name)
            complete.touch()
    return python


def lay_out_dependency(dependency: WheelDependency, toolbox: Toolbox, work: Path) -> Path:
    """Unpack a ready-made library and describe it by pkg-config; returns its folder.

    Raises:
        CompileError: it cannot be had, or the wheel lacks what the recipe says of it.
    """
    wheel = toolbox.home / "downloads" / dependency.sha256 / dependency.filename
    if not wheel.is_file():
        wheel.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch_pypi(dependency.name, dependency.filename, dependency.sha256, wheel)
        except ToolboxError as error:
            raise CompileError(str(error)) from error
    folder = dependency_folder(dependency, work)
    if not folder.is_dir():
        fresh = folder.with_name(f".{folder.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(fresh)
        fresh.rename(folder)
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


def dependency_folder(dependency: WheelDependency, work: Path) -> Path:
    """Where :func:`lay_out_dependency` puts a dependency."""
    return work / "deps" / f"{dependency.name}-{dependency.version}"


def relinked_folder(static: StaticDependency, work: Path) -> Path:
    """Where :func:`relink` puts a library: ``usr/lib`` and ``usr/include`` below it."""
    return work / "deps" / static.name


def relink(
    static: StaticDependency, commands: Commands, toolbox: Toolbox, work: Path, environment: Mapping[str, str]
) -> Path:
    """Make a shared library of a static one by the target's own linker and sysroot; returns its folder.

    Raises:
        CompileError: the part lacks what the recipe says of it, or the library does not link.
    """
    part = toolbox.ensure(static.part)
    folder = relinked_folder(static, work)
    for inside in (static.archive, static.headers, *static.licence_files):
        if not (part / inside).exists():
            raise CompileError(f"part {static.part} has no {inside}, which the recipe names")
    if not folder.is_dir():
        fresh = folder.with_name(f".{folder.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        library = fresh / "usr/lib" / static.soname
        library.parent.mkdir(parents=True)
        newer = fresh / "newer-glibc.o"
        _checked(
            [str(commands.cc), "-O2", "-fPIC", "-c", str(_NEWER_GLIBC), "-o", str(newer)], work, environment
        )
        _checked(
            [
                *(str(commands.cc), "-shared", "-o", str(library), f"-Wl,-soname,{static.soname}"),
                *("-Wl,--whole-archive", str(part / static.archive), "-Wl,--no-whole-archive", str(newer)),
                *static.link,
                # Nothing may be left for the loader to find out.
                "-Wl,-z,defs",
            ],
            work,
            environment,
        )
        newer.unlink()
        library.with_name(library.name.partition(".so")[0] + ".so").symlink_to(static.soname)
        shutil.copytree(
            part / static.headers, fresh / "usr/include", ignore=shutil.ignore_patterns("*.a", "*.so*")
        )
        fresh.rename(folder)
    return folder


def _environment(
    build: Build, commands: Commands, toolbox: Toolbox, work: Path, python: Path
) -> dict[str, str]:
    """The whole environment of the build: nothing of the user's leaks in but where temporary files go."""
    passed = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
    cflags = " ".join(build.recipe.build.cflags)
    include = toolbox.python_headers(build.python) / "usr/include"
    programs = [str(toolbox.ensure(part) / "usr/bin") for part in build.recipe.build.programs]
    return {
        **passed,
        "PATH": ":".join([str(work / "bin"), str(python.parent), *programs, "/usr/bin", "/bin"]),
        "HOME": str(work),
        "LC_ALL": "C.UTF-8",
        "CC": str(commands.cc),
        "CXX": str(commands.cxx),
        "AR": str(commands.ar),
        "RANLIB": str(commands.ranlib),
        "STRIP": str(commands.strip),
        "LDSHARED": f"{commands.cc} -shared",
        "LDCXXSHARED": f"{commands.cxx} -shared",
        "CFLAGS": cflags,
        "CXXFLAGS": cflags,
        "CPPFLAGS": f"-I{include}",
        "PKG_CONFIG_LIBDIR": str(work / "pkgconfig"),
        "SOURCE_DATE_EPOCH": str(build.source.epoch),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ZIG_GLOBAL_CACHE_DIR": str(toolbox.home / "cache/zig"),
        "ZIG_LOCAL_CACHE_DIR": str(toolbox.home / "cache/zig"),
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "_PYTHON_SYSCONFIGDATA_NAME": "_sysconfigdata__aarch64-linux-gnu",
        "CMAKE_TOOLCHAIN_FILE": str(work / "toolchain.cmake"),
        "MAX_JOBS": str(jobs()),
        _WORK_VARIABLE: str(work),
        **cache_variables(build, toolbox, work),
        **{
            name: _filled(value, build, toolbox, work, python)
            for name, value in build.recipe.build.environment.items()
        },
    }


def _filled(text: str, build: Build, toolbox: Toolbox, work: Path, python: Path) -> str:
    """A recipe's text with the folders it asks for: ``{part:NAME}``, ``{site}`` and ``{work}``.

    ``{site}`` is the build environment's site-packages.
    """
    [site] = python.parent.parent.glob("lib/python3*/site-packages")
    folders = {"site": site, "work": work}

    def folder(found: re.Match[str]) -> str:
        name = found[1]
        if part := name.partition("part:")[2]:
            return str(toolbox.ensure(part))
        if name not in folders:
            raise CompileError(f"recipe {build.recipe.name} names the folder {{{name}}}, which is none")
        return str(folders[name])

    return re.sub(r"\{([a-z][a-z0-9:-]*)\}", folder, text)


def jobs() -> int:
    """Compile jobs at once: the processors this process may use."""
    return len(os.sched_getaffinity(0))


def _frontend_options(build: Build, commands: Commands, work: Path) -> list[str]:
    """Options for PEP 517's config settings, in the spelling of each build backend."""
    match build.recipe.build.frontend:
        case "setuptools":
            return [f"-C--build-option={option}" for option in build.options if option[:2] != "-D"]
        case "meson-python":
            cross = _meson_cross_file(build, commands, work)
            setup = [f"--cross-file={cross}", *build.options]
            return [
                f"-Cbuilddir={work / 'build'}",
                *(f"-Csetup-args={option}" for option in setup),
                f"-Ccompile-args=-j{jobs()}",
            ]
        case "scikit-build-core":
            return [f"-Cbuild-dir={work / 'build'}"]


def _meson_cross_file(build: Build, commands: Commands, work: Path) -> Path:
    """Meson's cross build definition file (mesonbuild.com, "Cross compilation")."""
    path = work / "cross.ini"
    properties = {"pkg_config_libdir": str(work / "pkgconfig"), **build.recipe.build.meson_properties}
    path.write_text(
        "[binaries]\n"
        f"c = '{commands.cc}'\ncpp = '{commands.cxx}'\nar = '{commands.ar}'\n"
        f"ranlib = '{commands.ranlib}'\nstrip = '{commands.strip}'\npkg-config = 'pkgconf'\n"
        "[host_machine]\nsystem = 'linux'\ncpu_family = 'aarch64'\ncpu = 'aarch64'\nendian = 'little'\n"
        "[properties]\n" + "".join(f"{name} = '{value}'\n" for name, value in sorted(properties.items())),
        encoding="utf-8",
    )
    return path


def _cmake_toolchain_file(
    build: Build, commands: Commands, toolbox: Toolbox, work: Path, environment: Mapping[str, str]
) -> Path:
    """CMake's toolchain file (cmake-toolchains(7)); search paths stay inside the dependencies' folders.

    CMake finds it by the variable of its name, whoever calls it. The recipe's own variables stand in it too.
    """
    path = work / "toolchain.cmake"
    python = Path(environment["PATH"].split(":")[1]) / "python"
    headers = toolbox.python_headers(build.python) / "usr"
    roots = [str(dependency_folder(dependency, work)) for dependency in build.dependencies]
    roots += [str(relinked_folder(static, work)) for static in build.relinked]
    roots += [str(toolbox.ensure(part)) for part in build.recipe.build.libraries]
    roots.append(str(headers))
    variables = {
        "Python_INCLUDE_DIR": str(headers / "include" / python_name(build.python)),
        **dict(
            _filled(option.removeprefix("-D"), build, toolbox, work, python).split("=", 1)
            for option in build.options
            if option.startswith("-D")
        ),
    }
    path.write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\n"
        "set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)\n"
        f"set(CMAKE_C_COMPILER {commands.cc})\nset(CMAKE_CXX_COMPILER {commands.cxx})\n"
        f"set(CMAKE_AR {commands.ar} CACHE FILEPATH ar)\n"
        f"set(CMAKE_RANLIB {commands.ranlib} CACHE FILEPATH ranlib)\n"
        f"set(CMAKE_FIND_ROOT_PATH {' '.join(roots)})\n"
        "set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)\nset(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)\n"
        "set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)\nset(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)\n"
        + "".join(f'set({name} "{value}" CACHE STRING "" FORCE)\n' for name, value in variables.items()),
        encoding="utf-8",
    )
    return path


def _warm_up(commands: Commands, environment: dict[str, str], work: Path) -> None:
    """Have zig make its C++ support libraries now, on one core, while the build configures itself on the other.

    zig makes them at the first link, one file after the other, and keeps them in its cache; nothing waits for this.
    """
    source = work / "warm.cpp"
    source.write_text("#include <stdexcept>\nvoid warm(int n) { if (n) throw std::runtime_error({}); }\n")
    script = 'cd "$1" && "$2" -fPIC -c warm.cpp -o warm.o && "$2" -shared -fPIC -o warm.so warm.o'
    subprocess.Popen(
        ["/bin/sh", "-c", script, "warm", str(work), str(commands.cxx)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _run(command: list[str], environment: dict[str, str], work: Path, progress: Progress) -> None:
    """Run the build in a process group of its own, its whole output in ``build.log``."""
    log = work / "build.log"
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            env=environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        progress("compile", 0, 0)
        start = file.tell()
        file.write(f"$ {' '.join(command)}\n")
        try:
            for line in process.stdout or ():
                file.write(line)
                if ninja := _NINJA_LINE.match(line):
                    progress("compile", int(ninja[1]), int(ninja[2]))
        except BaseException:
            _end_leftovers(work)
            raise
    if process.returncode:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(start)
            said = file.read()
        raise CompileError(f"the build ended with {process.returncode}\n{telling(said)}\nfull log: {log}")


def telling(output: str, *, most: int = 12) -> str:
    """The lines of a build's output that tell what went wrong: the first that look like errors, else the last."""
    lines = output.splitlines()
    hits = [number for number, line in enumerate(lines) if _TELLING.search(line)]
    if not hits:
        return "\n".join(lines[-most:])
    chosen = sorted({near for hit in hits[:4] for near in (hit, hit + 1, hit + 2) if near < len(lines)})
    return "\n".join(lines[number][:300] for number in chosen[:most])


def _end_leftovers(work: Path) -> None:
    """End what an earlier, killed run still has running in ``work``: two builds in one folder spoil it."""
    leftovers = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_WORK_VARIABLE) == str(work):
                process.kill()
                leftovers.append(process)
        except psutil.Error:
            continue
    psutil.wait_procs(leftovers, timeout=10)


def _the_one_wheel(build: Build, out: Path) -> Path:
    """The wheel the backend made, if it is the one expected.

    Raises:
        CompileError: there is none, there are several, or its tag or version is another.
    """
    match sorted(out.glob("*.whl")):
        case []:
            raise CompileError("the build ended well but made no wheel")
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
            if {tag.interpreter for tag in tags} != {build.python}:
                problems.append(f"it is not for {build.python}")
            if problems:
                raise CompileError(f"the build made {wheel.name}: {'; '.join(problems)}")
            return wheel
        case several:
            raise CompileError(f"the build made {len(several)} wheels: {', '.join(w.name for w in several)}")


def _checked(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a step that fills ``folder``, marked so that a later run can end what this one leaves behind."""
    environment = environment or {**os.environ, _WORK_VARIABLE: str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=folder.parent
    )
    if done.returncode:
        raise CompileError(f"{' '.join(command[:4])} … failed:\n{done.stderr.strip()}")
