"""Compilers, Pythons, sysroots and emulators: fetched without root, pinned by hash, unpacked once.

Every file comes from the apt mirror or the pip index that this machine uses, and must match its sha256 in
``configs/toolchains.lock``. patchelf sets the interpreter and the library path of each program to the folder of its
part, so that it loads no library of this machine.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.errors import ConfigError, ToolboxError
from builder.model.pythons import program_of
from builder.model.toolchains import PyPITool
from builder.settings import home_dir
from builder.toolbox.fetch import Mirror, fetch_debian, fetch_pypi
from builder.toolbox.moved import clear_moved
from builder.toolbox.pins import REFRESH, PinnedFile, load_pins, pins_on
from builder.toolbox.tools import load_toolchains
from builder.toolbox.unpack import (
    add_lib_folder,
    make_self_contained,
    make_symlinks_relative,
    restore_executables,
    settle_headers,
    unpack_deb,
)
from builder.whole import create_once

Report = Callable[[str], None]


def _silent(_: str) -> None:
    return None


class Toolbox:
    """Returns the folders of unpacked parts by name; fetches a part on first use.

    Raises:
        ConfigError: the state folder's path has white space, at which build systems split a compiler's command.
    """

    def __init__(self, report: Report = _silent, *, home: Path | None = None) -> None:
        self.home = home or home_dir()
        self.toolchains = load_toolchains()
        self.pins = pins_on(platform.machine(), load_pins(), self.toolchains)
        self.mirror = Mirror()
        self.report = report
        if any(sign.isspace() for sign in str(self.home)):
            raise ConfigError(
                f"the state folder '{self.home}' has white space in its path, at which build systems split "
                "the compiler's command: let ARMWHEELS_HOME name another folder"
            )
        clear_moved(self.home, report)

    def path(self, part: str) -> Path:
        """The folder of ``part``, which may not exist yet; its name contains the digest of the part."""
        return self.home / "toolbox" / f"{part}-{self.pins.digest(part)[:12]}"

    def has(self, part: str) -> bool:
        """Whether ``part`` is unpacked."""
        return self.path(part).is_dir()

    def ensure(self, part: str) -> Path:
        """Fetch and unpack ``part`` unless its folder exists; returns the folder.

        Raises:
            ToolboxError: a file cannot be fetched, does not match its pin or cannot be unpacked.
        """
        final = self.path(part)

        def unpack(folder: Path) -> None:
            files = self.fetch(part)
            self.report(f"unpacking {part}")
            folder.mkdir()
            # The folder may be shared by a link: a program's path must outlive the link.
            self._unpack(part, files, folder, final.parent.resolve() / final.name)

        made = create_once(final, unpack)
        clear_moved(self.home, self.report)  # stamps a folder that this part was the first of
        return made

    def fetch(self, part: str) -> list[Path]:
        """Download the pinned files of ``part``, check their hashes and keep them; returns their paths.

        Raises:
            ToolboxError: with every file that cannot be fetched or does not match its pin.
        """
        files = self.pins.files(part)
        wanted = [file for file in files if not self._download(file).is_file()]
        if wanted:
            known = sum(file.size or 0 for file in wanted) / 1e6
            megabytes = f", {known:.0f} MB" if known >= 1 else ""
            self.report(f"fetching {part}: {len(wanted)} file{'s'[: len(wanted) > 1]}{megabytes}")
        debian = part not in self.toolchains.tools or self.toolchains.tools[part].kind == "debian"

        def fetch_one(file: PinnedFile) -> None:
            target = self._download(file)
            if debian:
                fetch_debian(self.mirror, file.path, file.sha256, target)
            else:
                fetch_pypi(file.name, file.filename, file.sha256, target)

        with ThreadPoolExecutor(max_workers=4) as pool:
            faults = [str(e) for e in pool.map(_caught(fetch_one), wanted) if e is not None]
        if faults:
            raise ToolboxError(
                "\n".join(faults) + f"\nIf a mirror no longer has a pinned file, run `{REFRESH}`."
            )
        return [self._download(file) for file in files]

    def _download(self, file: PinnedFile) -> Path:
        return self.home / "downloads" / file.sha256 / file.filename

    def _unpack(self, part: str, files: list[Path], folder: Path, final: Path) -> None:
        tool = self.toolchains.tools.get(part)
        if isinstance(tool, PyPITool):
            for wheel in files:
                shutil.unpack_archive(wheel, folder, format="zip")
            restore_executables(folder)
            return
        keep = tool.keep if tool is not None else ()
        for package in files:
            unpack_deb(package, folder, keep)
        if tool is not None and tool.root:
            return
        make_symlinks_relative(folder)
        add_lib_folder(folder)
        if tool is None and part.startswith("headers-"):
            settle_headers(folder, final)
        programs = part.startswith("python-") or (tool is not None and tool.architecture == "amd64")
        if programs:
            make_self_contained(folder, final)

    def zig(self, part: str = "zig") -> Path:
        """The program of zig in a part; by default, of the part that compiles programs for this machine."""
        return self.ensure(part) / "ziglang" / "zig"

    def llvm(self, program: str) -> Path:
        return self.ensure("llvm") / "usr/lib/llvm-19/bin" / program

    def ccache(self) -> Path:
        """The program of the compile cache, which is among the scripts of its wheel."""
        [program] = self.ensure("ccache").glob("*.data/scripts/ccache")
        return program

    def llvm_mc(self) -> Path:
        return self.llvm("llvm-mc")

    def qemu(self) -> Path:
        return self.ensure("qemu") / "usr/bin/qemu-aarch64"

    def build_python(self, tag: str) -> Path:
        """The program of the CPython of ``tag`` for this machine."""
        return self.ensure(f"python-{tag}") / "usr/bin" / program_of(tag)

    def python_headers(self, tag: str) -> Path:
        """A folder with ``usr/include`` and ``sysconfigdata/`` of the arm64 CPython of ``tag``."""
        return self.ensure(f"headers-{tag}")

    def userland(self, tag: str) -> Path:
        """The arm64 root folder for emulation, with glibc, libstdc++ and the CPython of ``tag``."""
        return self.ensure(f"userland-{tag}")


def _caught(function: Callable[[PinnedFile], None]) -> Callable[[PinnedFile], ToolboxError | None]:
    def call(file: PinnedFile) -> ToolboxError | None:
        try:
            function(file)
        except ToolboxError as error:
            return error
        return None

    return call
