"""Packs a shared library of Debian as a wheel, so that it is installed and measured as a wheel is.

The wheel serves measurements alone: it is never published.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

from packaging.utils import canonicalize_name

from builder.bench.measure import SCRIPTS
from builder.errors import ConfigError, ToolboxError
from builder.model.toolchains import DebianTool, GnuCompiler, MeasuredLibrary
from builder.toolbox.compile_c import compile_shared
from builder.toolbox.toolbox import Toolbox
from builder.toolbox.unpack import patchelf
from builder.whole import create_once

_UPSTREAM = re.compile(r"^(?:\d+:)?(\d+(?:\.\d+)*)")  # deb-version(7)
_C_TARGET = "aarch64-linux-gnu.2.17"
_CXX_COMPILER = "gcc-14"


def library_version(toolbox: Toolbox, part: str) -> str:
    """Return the upstream version of a part's first package.

    Raises:
        ConfigError: the lock does not contain the part, or the version has another form.
    """
    tool = toolbox.toolchains.tools[part]
    first = tool.packages[0] if isinstance(tool, DebianTool) else part
    version = next((file.version for file in toolbox.pins.files(part) if file.name == first), "")
    found = _UPSTREAM.match(version)
    if found is None:
        raise ConfigError(f"toolchains.lock: {part} has no version of {first}")
    return found[1]


def library_wheel(toolbox: Toolbox, name: str, library: MeasuredLibrary, part: str, home: Path) -> Path:
    """Return the wheel of one release, which is packed once.

    Raises:
        ConfigError: the lock does not contain the part.
        ToolboxError: a file cannot be fetched, the part lacks a library, or the driver does not compile.
    """
    version = library_version(toolbox, part)
    project = str(canonicalize_name(f"library-{name}")).replace("-", "_")
    about = hashlib.sha256(toolbox.pins.digest(part).encode() + library.model_dump_json().encode())
    if library.driver is not None:
        about.update((SCRIPTS / library.driver).read_bytes())
    final = home / "bench/libraries" / about.hexdigest()[:16] / f"{project}-{version}-py3-none-any.whl"

    def create(path: Path) -> None:
        folder = path.parent / "content"
        package = folder / library.package
        _fill(toolbox, library, toolbox.ensure(part), package, path.parent / "cache")
        info = folder / f"{project}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        (info / "WHEEL").write_text(
            "Wheel-Version: 1.0\nGenerator: armwheels\nRoot-Is-Purelib: false\nTag: py3-none-any\n"
        )
        _pack(folder, info, path)

    return create_once(final, create)


def _fill(toolbox: Toolbox, library: MeasuredLibrary, part: Path, package: Path, cache: Path) -> None:
    """Write the package: the library with what it needs, each looking for the others beside it."""
    folder = package / "lib"
    folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for pattern in library.files:
        found = sorted(part.glob(pattern))
        if not found:
            raise ToolboxError(f"{part.name} has no {pattern}")
        for file in found:
            shutil.copyfile(file, folder / file.name)
            patchelf("--set-rpath", "$ORIGIN", str(folder / file.name))
    if library.driver is None:
        return
    source, driver = SCRIPTS / library.driver, package / "driver.so"
    if library.headers:
        _compile_cxx(toolbox, source, driver, [part / one for one in library.headers], folder)
    else:
        compile_shared(toolbox, source, driver, target=_C_TARGET, cache=cache)


def _compile_cxx(toolbox: Toolbox, source: Path, output: Path, headers: list[Path], libraries: Path) -> None:
    """Compile a driver in C++ with GCC, whose libstdc++ Debian's libraries share."""
    compiler = toolbox.toolchains.compilers[_CXX_COMPILER]
    if not isinstance(compiler, GnuCompiler):
        raise ConfigError(f"compilers.{_CXX_COMPILER} is no GCC")
    program = f"usr/bin/aarch64-linux-gnu-g++-{compiler.version.partition('.')[0]}"
    sysroot = toolbox.ensure(compiler.sysroot)
    standard = sysroot / f"usr/include/c++/{compiler.libstdcxx}"
    done = subprocess.run(
        [
            *(str(toolbox.ensure(compiler.part) / program), f"--sysroot={sysroot}", "-nostdinc++"),
            *("-isystem", str(standard)),
            *("-isystem", str(sysroot / f"usr/include/aarch64-linux-gnu/c++/{compiler.libstdcxx}")),
            f"-L{sysroot}/usr/lib/gcc/aarch64-linux-gnu/{compiler.libstdcxx}",
            f"-L{sysroot}/lib/aarch64-linux-gnu",
            *("-std=c++17", "-O2", "-shared", "-fPIC", "-s", "-w"),
            *(f"-isystem{folder}" for folder in headers),
            *("-o", str(output), str(source), "-Wl,-rpath,$ORIGIN/lib", "-Wl,--allow-shlib-undefined"),
            *(str(path) for path in sorted(libraries.iterdir())),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ToolboxError(f"{source.name} does not compile:\n{done.stderr.strip()[-2000:]}")


def _pack(folder: Path, info: Path, path: Path) -> None:
    """Write the wheel: the same bytes for the same content."""
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    record = info / "RECORD"
    lines = []
    for file in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
        lines.append(f"{file.relative_to(folder)},sha256={digest},{file.stat().st_size}\n")
    record.write_text("".join(lines) + f"{record.relative_to(folder)},,\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in (*files, record):
            archive.writestr(zipfile.ZipInfo(str(file.relative_to(folder))), file.read_bytes())
