"""The lowest layer of an image: the arm64 CPython and its libraries, from the toolbox's pinned Debian packages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from builder.errors import ToolboxError
from builder.images.layers import USER
from builder.images.wheels import write_bytecode
from builder.model.pythons import program_of
from builder.toolbox.toolbox import Toolbox
from builder.toolbox.unpack import add_lib_folder, make_symlinks_relative, unpack_deb

_ACCOUNTS = f"""root:x:0:0:root:/root:/sbin/nologin
nonroot:x:{USER}:{USER}:nonroot:/home/nonroot:/sbin/nologin
"""
_GROUPS = f"root:x:0:\nnonroot:x:{USER}:\n"
_FOR_PEOPLE = (
    "usr/share/man",
    "usr/share/lintian",
    "usr/share/doc-base",
    "usr/share/applications",
    "usr/share/pixmaps",
)


def lay_userland(root: Path, tag: str, toolbox: Toolbox) -> None:
    """Put the CPython of ``tag`` into ``root``, without a shell and a package manager.

    Each package is listed in ``/var/lib/dpkg/status.d``, where scanners for vulnerabilities look for packages of
    images without dpkg.

    Raises:
        ToolboxError: a package cannot be fetched or unpacked.
    """
    part = f"userland-{tag}"
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for pinned, package in zip(toolbox.pins.files(part), toolbox.fetch(part), strict=True):
        unpack_deb(package, root, ())
        told = subprocess.run(["dpkg-deb", "--field", str(package)], capture_output=True, check=False)
        if told.returncode:
            raise ToolboxError(f"{package.name}: {told.stderr.decode(errors='replace').strip()}")
        (status / pinned.name).write_bytes(told.stdout)
    make_symlinks_relative(root)
    add_lib_folder(root)
    _slim(root)
    for name in ("python3", "python"):
        link = root / "usr/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(program_of(tag))
    for folder in ("tmp", "var/tmp", "home/nonroot", "root", "proc", "sys", "dev", "run"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(_ACCOUNTS, encoding="ascii")
    (etc / "group").write_text(_GROUPS, encoding="ascii")
    suite = toolbox.toolchains.pythons[tag].suite
    (etc / "os-release").write_text(
        f'PRETTY_NAME="Python of Debian {suite} with Armwheels"\nID=debian\nVERSION_CODENAME={suite}\n',
        encoding="ascii",
    )
    write_bytecode(root, tag, toolbox)


def _slim(root: Path) -> None:
    """Delete what only people read, but for the licences."""
    for name in _FOR_PEOPLE:
        shutil.rmtree(root / name, ignore_errors=True)
    for path in list((root / "usr/share/doc").rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name != "copyright":
            path.unlink()
