"""Compilers, Pythons, sysroots and emulators: fetched without root, pinned by hash, unpacked once.

Every file comes through the machine's own apt mirror and pip configuration and must match its sha256 in
``configs/toolchains.lock``. A tool is unpacked beside its final place and renamed, so that a killed run leaves
either the whole tool or nothing. Programs are made self-contained: their interpreter and library path are set
to the tool's own folder (patchelf), so that no library of the host takes part.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.errors import ToolboxError
from builder.model.pythons import program_of
from builder.model.toolchains import PyPITool
from builder.settings import home_dir
from builder.toolbox.fetch import Mirror, fetch_debian, fetch_pypi
from builder.toolbox.pins import REFRESH, PinnedFile, load_pins
from builder.toolbox.tools import load_toolchains
from builder.toolbox.unpack import (
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
    """Hands out unpacked tools by name, fetching each when it is first asked for."""

    def __init__(self, report: Report = _silent, *, home: Path | None = None) -> None:
        self.home = home or home_dir()
        self.toolchains = load_toolchains()
        self.pins = load_pins()
        self.mirror = Mirror()
        self.report = report

    def path(self, part: str) -> Path:
        """Where ``part`` lies once it has been fetched; the name carries its digest."""
        return self.home / "toolbox" / f"{part}-{self.pins.digest(part)[:12]}"

    def has(self, part: str) -> bool:
        """Whether ``part`` is unpacked and whole."""
        return self.path(part).is_dir()

    def ensure(self, part: str) -> Path:
        """Fetch and unpack ``part`` unless it is there; returns its folder.

        Raises:
            ToolboxError: a file cannot be had, does not match its pin or cannot be unpacked.
        """
        final = self.path(part)

        def unpack(folder: Path) -> None:
            files = self.fetch(part)
            self.report(f"unpacking {part}")
            folder.mkdir()
            self._unpack(part, files, folder, final)

        return create_once(final, unpack)

    def fetch(self, part: str) -> list[Path]:
        """Download the pinned files of ``part``; each is kept by its sha256 and checked against it."""
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
            raise ToolboxError("\n".join(faults) + f"\nIf a pinned file is gone for good, run `{REFRESH}`.")
        return [self._download(file) for file in files]

    def _download(self, file: PinnedFile) -> Path:
        return self.home / "downloads" / file.sha256 / file.filename

    def _unpack(self, part: str, files: list[Path], fresh: Path, final: Path) -> None:
        tool = self.toolchains.tools.get(part)
        if isinstance(tool, PyPITool):
            for wheel in files:
                shutil.unpack_archive(wheel, fresh, format="zip")
            restore_executables(fresh)
            return
        keep = tool.keep if tool is not None else ()
        for package in files:
            unpack_deb(package, fresh, keep)
        if tool is not None and tool.root:
            return
        make_symlinks_relative(fresh)
        if tool is None and part.startswith("headers-"):
            settle_headers(fresh, final)
        programs = part.startswith("python-") or (tool is not None and tool.architecture == "amd64")
        if programs:
            make_self_contained(fresh, final)

    # What the rooms ask for.

    def zig(self) -> Path:
        return self.ensure("zig") / "ziglang" / "zig"

    def llvm(self, program: str) -> Path:
        return self.ensure("llvm") / "usr/lib/llvm-19/bin" / program

    def ccache(self) -> Path:
        """The compile cache's program; wheels keep programs among their scripts."""
        [program] = self.ensure("ccache").glob("*.data/scripts/ccache")
        return program

    def llvm_mc(self) -> Path:
        return self.llvm("llvm-mc")

    def qemu(self) -> Path:
        return self.ensure("qemu") / "usr/bin/qemu-aarch64"

    def build_python(self, tag: str) -> Path:
        """The CPython of ``tag`` that runs on this machine."""
        return self.ensure(f"python-{tag}") / "usr/bin" / program_of(tag)

    def python_headers(self, tag: str) -> Path:
        """A folder with ``usr/include`` and ``sysconfigdata/`` of the arm64 CPython of ``tag``."""
        return self.ensure(f"headers-{tag}")

    def userland(self, tag: str) -> Path:
        """The arm64 root for emulation: glibc, libstdc++ and the CPython of ``tag``."""
        return self.ensure(f"userland-{tag}")


def _caught(function: Callable[[PinnedFile], None]) -> Callable[[PinnedFile], ToolboxError | None]:
    def call(file: PinnedFile) -> ToolboxError | None:
        try:
            function(file)
        except ToolboxError as error:
            return error
        return None

    return call
