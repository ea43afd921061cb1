"""Installs a wheel beside its dependencies by this machine's uv, for an emulated Python or this machine's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from builder.emulation.environment import write_bytecode
from builder.errors import ConfigError, VerifyError
from builder.model.pythons import installable_tags, program_of, version_of
from builder.toolbox.fetch import uv_environment
from builder.toolbox.pins import PinnedFile
from builder.toolbox.toolbox import Toolbox

_NEWEST_GLIBC_OF_UV = 40
"""uv has no name for a platform with a newer C library. Such a platform takes the wheels of this one, too."""


def python_of(path: Path, known: Sequence[str]) -> str:
    """Return the CPython tag to run a wheel with: its own, or else the first of ``known`` that can install it.

    Raises:
        ConfigError: no known Python can install the wheel.
    """
    _, _, _, tags = parse_wheel_filename(path.name)
    platforms = sorted({tag.platform for tag in tags})
    fitting = [python for python in known if tags & set(installable_tags(python, platforms))]
    own = [python for python in fitting if any(tag.interpreter == python for tag in tags)]
    if fitting:
        return (own or fitting)[0]
    raise ConfigError(f"no known Python can install {path.name}; known are {', '.join(known)}")


def install(wheel: Path, site: Path, options: Sequence[str]) -> None:
    """Install a wheel and its dependencies into ``site`` with uv, from the indexes that pip is configured with.

    Raises:
        VerifyError: uv fails; the error has the end of its output.
    """
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--link-mode", "copy"),
            *("--only-binary", ":all:", "--target", str(site), *options, str(wheel)),
        ],
        env=uv_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise VerifyError(f"{wheel.name} could not be installed: {done.stderr.strip()[-1500:]}")


def install_for(toolbox: Toolbox, tag: str, wheel: Path, site: Path, beside: Sequence[str] = ()) -> None:
    """Install a wheel and its dependencies for the emulated platform, and compile all modules to bytecode.

    This machine's Python of the same tag compiles them, and the standard library. Otherwise the first import under
    emulation would include the compiler.

    Raises:
        VerifyError: uv fails.
    """
    platform = f"aarch64-manylinux_2_{glibc_of(toolbox, tag)}"
    python = ["--python-version", version_of(tag), "--python", str(toolbox.build_python(tag))]
    install(wheel, site, ["--python-platform", platform, *python, *beside])
    write_bytecode(toolbox, tag, site, toolbox.userland(tag) / "usr/lib" / program_of(tag))


def glibc_of(toolbox: Toolbox, tag: str) -> int:
    """Return the minor version of the newest glibc whose wheels the userland of ``tag`` takes."""
    return min(glibc_minor(toolbox.pins.files(f"userland-{tag}")), _NEWEST_GLIBC_OF_UV)


def glibc_minor(files: Sequence[PinnedFile]) -> int:
    """Return the minor version of the C library among Debian packages: 36 of ``libc6 2.36-9+deb12u13``.

    Raises:
        StopIteration: there is none.
    """
    version = next(file.version for file in files if file.name == "libc6")
    return Version(version.partition("-")[0]).minor
