"""Run a wheel's tests with Debian bullseye's C library (2.31) and libstdc++ (GLIBCXX_3.4.28).

    .venv/bin/python -m scripts.try_on_bullseye WHEEL

All other tests use a newer emulated userland. Bullseye has Python 3.9, so the first run cross-compiles CPython 3.11
against bullseye. The exit code is 0 if every check passed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from builder.commands.project import Project
from builder.compile.processes import run_logged
from builder.compile.wrappers import write_wrappers
from builder.emulation.emulate import stand_in
from builder.emulation.environment import EmulatedPython, install_requirements
from builder.emulation.verify import lay_out_data
from builder.locks import requirements_lock
from builder.model.build import Build
from builder.model.sources import DebianFile, DebianSource, VersionSource
from builder.plan import make_build
from builder.source import prepare
from builder.toolbox.toolbox import Toolbox

PYTHON = "cp311"
CPYTHON = VersionSource(
    epoch=1675811700,
    source=DebianSource(
        kind="debian",
        files=(
            DebianFile(
                path="pool/main/p/python3.11/python3.11_3.11.2.orig.tar.gz",
                sha256="2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849",
            ),
        ),
    ),
)
# What configure would run a program for (Python's own documentation, "Cross Compiling Options").
ANSWERS = ("ac_cv_file__dev_ptmx=yes", "ac_cv_file__dev_ptc=no", "ac_cv_buggy_getaddrinfo=no")
TESTS = Path(__file__).parents[1] / "builder/wheel_tests"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help="an Armwheels wheel for cp311, built with GCC")
    asked = parser.parse_args()
    project = Project()
    passport = read_passport(asked.wheel)
    recipe = project.recipes[passport["recipe"]]
    build = make_build(
        recipe,
        version=passport["version"],
        python=PYTHON,
        target=passport["target"],
        backend=passport["backend"],
        required=False,
        targets=project.targets,
        ingredients=project.ingredients,
    )
    root = userland(build, project.toolbox)
    emulated = EmulatedPython(project.toolbox, PYTHON, stand_in(project.targets[build.target]).cpu, root=root)
    beside = install_requirements(project.toolbox, requirements_lock(recipe.name, "tests", PYTHON), PYTHON)
    with tempfile.TemporaryDirectory(dir=project.toolbox.home / "tmp") as scratch:
        environment = emulated.create_environment(Path(scratch) / "env")
        lay_out_data(recipe, build.version, project.toolbox, Path(scratch) / "data")
        install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(asked.wheel.resolve())]
        where = "import os, platform; print(platform.python_version(), *platform.libc_ver())"
        script = TESTS / recipe.verify.script
        limit = recipe.verify.timeout_minutes * 60.0
        for arguments in (["-c", where], install, [str(script)]):
            done = subprocess.run(
                emulated.command(arguments, environment=environment),
                env=emulated.variables({"PYTHONPATH": str(beside)}),
                cwd=scratch,
                timeout=limit,
                check=False,
            )
            if done.returncode:
                return done.returncode
    return 0


def read_passport(wheel: Path) -> dict[str, str]:
    """Return the passport of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/armwheels.json")]
        passport: dict[str, str] = json.loads(archive.read(name))
    return passport


def userland(build: Build, toolbox: Toolbox) -> Path:
    """Return a root with bullseye's libraries and a CPython built against them. The first call makes it."""
    parts = [toolbox.ensure(part) for part in ("sysroot-bullseye", "bullseye-libraries")]
    final = toolbox.home / "out" / f"bullseye-python-{PYTHON}-{parts[0].name[-12:]}-{parts[1].name[-12:]}"
    if final.is_dir():
        return final
    work = toolbox.home / "work" / final.name
    shutil.rmtree(work, ignore_errors=True)
    tree = work / "src"
    shutil.copytree(prepare("cpython", CPYTHON, toolbox.home), tree, symlinks=True)
    commands = write_wrappers(build, toolbox, work / "bin", tuned=False)
    libraries, builder = parts[1], toolbox.build_python(PYTHON)
    environment = {
        "PATH": f"{builder.parent}:/usr/bin:/bin",
        "HOME": str(work),
        "CC": str(commands.cc),
        "CXX": str(commands.cxx),
        "AR": str(commands.ar),
        "RANLIB": str(commands.ranlib),
        "READELF": str(toolbox.llvm("llvm-readelf")),
        "CPPFLAGS": f"-I{libraries}/usr/include -I{libraries}/usr/include/aarch64-linux-gnu",
        "LDFLAGS": f"-L{libraries}/usr/lib/aarch64-linux-gnu",
        "SOURCE_DATE_EPOCH": str(CPYTHON.epoch),
    }
    configure = [
        *("./configure", "--quiet", "--prefix=/usr", "--build=x86_64-linux-gnu", "--host=aarch64-linux-gnu"),
        *(f"--with-build-python={builder}", "--without-ensurepip", "--disable-test-modules", *ANSWERS),
    ]
    root = work / "root"
    for part in parts:
        shutil.copytree(part, root, symlinks=True, dirs_exist_ok=True)
    install = ["make", "--silent", "install", f"DESTDIR={root}"]
    for command in (configure, ["make", "--silent", "-j2"], install):
        print("$", " ".join(command), file=sys.stderr)
        run_logged(command, environment, work, lambda *_: None, folder=tree)
    final.parent.mkdir(parents=True, exist_ok=True)
    root.rename(final)
    shutil.rmtree(work)
    return final


if __name__ == "__main__":
    sys.exit(main())
